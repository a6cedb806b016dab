"""Creates the tables, users with a token each (`prepare.py COUNT`), and prints the keys of the tokens as JSON."""

import json
import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 (the settings have to be read first)
from django.core.management import call_command  # noqa: E402
from rest_framework.authtoken.models import Token  # noqa: E402

call_command("migrate", verbosity=0)
users = User.objects.bulk_create(User(username=f"user-{number}") for number in range(int(sys.argv[1])))
tokens = Token.objects.bulk_create(Token(user=user, key=Token.generate_key()) for user in users)
json.dump([token.key for token in tokens], sys.stdout)
