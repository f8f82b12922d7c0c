#!/bin/sh
# Makes a deb and an rpm of a bundle. Usage: packages.sh BUNDLE.tar.gz DIRECTORY; `make packages`. `nfpm` must be in the path.
set -eu
cd "$(dirname "$0")/.."
CONTENT=$(mktemp -d)
trap 'rm -rf "$CONTENT"' EXIT
chmod 755 "$CONTENT"
tar -xzf "$1" -C "$CONTENT" --strip-components=1
VERSION=$(cat "$CONTENT/VERSION")
case $1 in
*-x86_64.tar.gz) ARCH=amd64 ;;
*-aarch64.tar.gz) ARCH=arm64 ;;
*) echo "$1 is no bundle" >&2 && exit 1 ;;
esac
SOURCE_DATE_EPOCH=$(stat -c %Y "$CONTENT/VERSION") # the bundle has one time for all
export CONTENT VERSION ARCH SOURCE_DATE_EPOCH
mkdir -p "$2"
for kind in deb rpm; do
    nfpm package --config packaging/nfpm.yaml --packager $kind --target "$2"
done
