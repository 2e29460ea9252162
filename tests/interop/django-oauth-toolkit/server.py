# An authorization server made of django-oauth-toolkit, for gunicorn. It makes its database in the
# file DATABASE, which must not be there yet. What it counts it keeps to itself, so it takes one
# process, with --preload: then it listens when its clients are registered, and not before.
#
#   POST /o/token/   POST /o/introspect/   POST /o/revoke_token/
#   GET /stats    how often each was called
#   GET /grants   every request for a token: whose it was, how it was made, what came of it
import base64
import collections
import json
import os
import secrets
from urllib.parse import unquote_plus

import django
from django.conf import settings

TOKEN = '/o/token/'
# The client whose tokens live for 3 s only.
HASTY = 'hasty'

settings.configure(
    SECRET_KEY=secrets.token_hex(32),
    ALLOWED_HOSTS=['127.0.0.1'],
    ROOT_URLCONF=__name__,
    # The first is what sends a path without its final slash elsewhere, as in every new project.
    MIDDLEWARE=['django.middleware.common.CommonMiddleware', f'{__name__}.noting'],
    INSTALLED_APPS=['django.contrib.auth', 'django.contrib.contenttypes', 'oauth2_provider'],
    DATABASES={'default': {
        'ENGINE': 'django.db.backends.sqlite3', 'NAME': os.environ['DATABASE'],
        # A transaction that reads first and then writes waits for its turn, too.
        'OPTIONS': {'timeout': 20, 'transaction_mode': 'IMMEDIATE'},
    }},
    USE_TZ=True,
    OAUTH2_PROVIDER={
        'SCOPES': {'orders:read': '', 'orders:write': '', 'introspection': ''},
        'ACCESS_TOKEN_EXPIRE_SECONDS': 3600,
        'EXTRA_SERVER_KWARGS': {
            'token_expires_in': lambda request: 3 if request.client_id == HASTY else 3600,
        },
        # Who sends a refresh token again loses the whole grant.
        'REFRESH_TOKEN_REUSE_PROTECTION': True,
    },
)
django.setup()

from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.http import JsonResponse
from django.urls import include, path
from oauth2_provider.models import Application

calls, grants = [], []


def stats(request):
    return JsonResponse(collections.Counter(calls))


urlpatterns = [
    path('stats', stats),
    path('grants', lambda request: JsonResponse(grants, safe=False)),
    path('o/', include('oauth2_provider.urls', namespace='oauth2_provider')),
]


def who_asks(request):
    scheme, _, credentials = request.headers.get('Authorization', '').partition(' ')
    if scheme != 'Basic':
        return request.POST.get('client_id'), 'client_secret_post'
    client_id, _, _ = base64.b64decode(credentials).decode().partition(':')
    return unquote_plus(client_id), 'client_secret_basic'


def noting(get_response):
    def answer(request):
        calls.append(request.path)
        response = get_response(request)
        if request.path == TOKEN:
            client_id, method = who_asks(request)
            asked = {name: request.POST.get(name) for name in ('grant_type', 'refresh_token')}
            said = json.loads(response.content)
            grants.append({
                'client_id': client_id, 'method': method, **asked, 'error': said.get('error'),
                'access_token': said.get('access_token'),
                'next_refresh_token': said.get('refresh_token'),
            })
        return response
    return answer


call_command('migrate', verbosity=0)
alice = User.objects.create_user('alice', password='alice-pw')
ODD = 's%c&r=t+/~! ü'
for client_id, secret, grant_type in [
    # `svc` gets tokens, and revokes them: nobody here can revoke those of others.
    ('svc', 'svc-secret', 'client-credentials'),
    # These introspect them.
    ('rs', 'rs-secret', 'client-credentials'),
    ('introspector', 'introspector-secret', 'client-credentials'),
    ('guard', 'guard-secret', 'client-credentials'),
    ('reader', 'reader-secret', 'client-credentials'),
    # Characters that RFC 6749 section 2.3.1 wants form-encoded before they go into Basic.
    ('odd:client id', ODD, 'client-credentials'),
    # For these the filter gets tokens, for the last two a user's.
    ('shop', 'shop-secret', 'client-credentials'),
    ('app', 'app-secret', 'password'),
    (HASTY, 'hasty-secret', 'password'),
]:
    Application.objects.create(
        client_id=client_id, client_secret=secret, client_type='confidential',
        authorization_grant_type=grant_type, name=client_id,
    )
# gunicorn forks now, and a connection of sqlite must not be carried over.
connections.close_all()
application = get_wsgi_application()
