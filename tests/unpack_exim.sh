#!/usr/bin/env bash
# Exim for the tests. Debian lets it not be installed beside Postfix, so its program is unpacked into .peers/exim and installed nowhere;
# only its libraries and its user, without which it does not start, come to the system.
set -euo pipefail
cd "$(dirname "$0")/.."
[ ! -x .peers/exim/exim4 ] || exit 0

apt-get install -y -qq --no-install-recommends libidn12 libgnutls-dane0 libnsl2 libdb5.3 >/dev/null
getent passwd Debian-exim >/dev/null || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin Debian-exim
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root exim4-daemon-light && dpkg -x exim4-daemon-light_*.deb .)
mkdir -p .peers/exim
install -m 755 "$folder/usr/sbin/exim4" .peers/exim/exim4
