#!/bin/sh
# server.sh install|start FOLDER: django-oauth-toolkit, a library for Django, with a new database in
# FOLDER. It listens on PORT.
set -eu
case $1 in
install)
    sh tests/setup/venv.sh "$2/venv" django-oauth-toolkit==3.4.1 Django==5.2.19 gunicorn==27.0.1
    ;;
start)
    rm -f "$2/server.sqlite3"
    # Where gunicorn runs, and looks for it.
    cp tests/interop/django-oauth-toolkit/server.py "$2"
    cd "$2"
    # Envoy keeps its connections for longer than the 2 s after which gunicorn ends them. The control
    # socket would be made in the home of whoever runs this.
    DATABASE=$2/server.sqlite3 exec venv/bin/python -m gunicorn server:application --preload \
        --workers=1 --threads=16 --keep-alive=600 --access-logfile=- --no-control-socket \
        --bind="127.0.0.1:$PORT"
    ;;
esac
