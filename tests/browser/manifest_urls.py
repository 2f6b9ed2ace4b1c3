"""The chat's pages, and a page that uses the template tag."""

from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.urls import include, path

TAGGED = Template(
    "{% load realtime %}<!doctype html><title>tagged</title><link rel='icon' href='data:,'>{% realtime_script %}"
)


def tagged(request: HttpRequest) -> HttpResponse:
    return HttpResponse(TAGGED.render(Context()))


urlpatterns = [
    path("", include("chatty.urls")),
    path("tagged/", tagged),
]
