from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from chatty import views

urlpatterns = [
    path("", views.room, {"room": "lobby"}, name="lobby"),
    path("rooms/", views.rooms, name="rooms"),
    path("rooms/<slug:room>/", views.room, name="room"),
    path("rooms/<slug:room>/delete/", views.delete_room, name="delete_room"),
    path("rooms/<slug:room>/members/", views.members, name="members"),
    path("rooms/<slug:room>/members/<int:user>/remove/", views.remove_member, name="remove_member"),
    path("login/", LoginView.as_view(template_name="chatty/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("signup/", views.sign_up, name="sign_up"),
]
