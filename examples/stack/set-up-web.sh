#!/bin/sh
set -eu
mkdir -p /srv/www
mv /srv/index.html /srv/www/index.html
