from django.urls import path

from chatty.views import room

urlpatterns = [
    path("", room, {"room": "lobby"}, name="lobby"),
    path("rooms/<slug:room>/", room, name="room"),
]
