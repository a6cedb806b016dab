"""The only view: it answers who has presented the token. TokenAuthentication has checked it before."""

from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.response import Response


@api_view(["GET"])
def check(request):
    """Returns the name of the token's user. 401 if there is no such token, or its user is not active."""
    return Response({"decision": "ALLOW", "user": request.user.get_username()})


urlpatterns = [path("check", check)]
