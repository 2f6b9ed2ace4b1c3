"""The chat's pages, the static files that a web server would serve, and a page that uses the template tag."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.urls import include, path
from django.views.static import serve

TAGGED = Template(
    "{% load realtime %}<!doctype html><title>tagged</title><link rel='icon' href='data:,'>{% realtime_script %}"
)


def tagged(request: HttpRequest) -> HttpResponse:
    return HttpResponse(TAGGED.render(Context()))


urlpatterns = [
    path("", include("chatty.urls")),
    path("tagged/", tagged),
    path("static/<path:path>", serve, {"document_root": settings.STATIC_ROOT}),
]
