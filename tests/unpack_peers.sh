#!/usr/bin/env bash
# Exim and OpenSMTPD for the tests. Debian lets them not be installed beside Postfix, so they are unpacked into .peers and installed
# nowhere; only their libraries, and the user without which Exim does not start, come to the system.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

unpack() {
  mkdir "$folder/$1"
  (cd "$folder/$1" && apt-get download -qq -o APT::Sandbox::User=root "$1" && dpkg -x "$1"_*.deb .)
}

exim() {
  apt-get install -y -qq --no-install-recommends libidn12 libgnutls-dane0 libnsl2 libdb5.3 >/dev/null
  getent passwd Debian-exim >/dev/null || useradd --system --user-group --no-create-home --shell /usr/sbin/nologin Debian-exim
  unpack exim4-daemon-light
  mkdir -p .peers/exim
  install -m 755 "$folder/exim4-daemon-light/usr/sbin/exim4" .peers/exim/exim4
}

# Its paths are compiled in, so what is made here is a root of its own: the programs, their libraries, a shell and its users.
opensmtpd() {
  apt-get install -y -qq --no-install-recommends libdb5.3 libevent-2.1-7 libssl3 libpam0g zlib1g >/dev/null
  unpack opensmtpd
  local root=$folder/root program library
  mkdir -p "$root"/{bin,dev,etc,tmp,usr/sbin,usr/libexec/opensmtpd,var/run,var/spool,var/lib/opensmtpd/empty}
  chmod 1777 "$root/tmp"
  cp "$(readlink -f /bin/sh)" "$root/bin/sh"
  cp "$folder/opensmtpd/usr/sbin/smtpd" "$root/usr/sbin/"
  cp "$folder/opensmtpd/usr/libexec/opensmtpd/mail.maildir" "$root/usr/libexec/opensmtpd/"
  for program in bin/sh usr/sbin/smtpd usr/libexec/opensmtpd/mail.maildir; do
    for library in $(ldd "$root/$program" | grep -o '/[^ ]*'); do
      mkdir -p "$root$(dirname "$library")"
      cp -L "$library" "$root$library"
    done
  done
  printf '%s:/bin/sh\n' root:x:0:0:: opensmtpd:x:991:991::/var/lib/opensmtpd/empty opensmtpq:x:992:992::/var/lib/opensmtpd/empty \
    nobody:x:65534:65534::/mail >"$root/etc/passwd"
  printf '%s:\n' root:x:0 opensmtpd:x:991 opensmtpq:x:992 nogroup:x:65534 >"$root/etc/group"
  echo relay.test >"$root/etc/mailname"
  mkdir -p .peers
  cp -a "$root" .peers/opensmtpd
}

[ -x .peers/exim/exim4 ] || exim
[ -x .peers/opensmtpd/usr/sbin/smtpd ] || opensmtpd
