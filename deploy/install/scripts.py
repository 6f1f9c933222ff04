"""What is run on a device: constant texts for a POSIX shell, which get names and paths as arguments.

They keep to what coreutils, busybox and toybox have in common. Each ends with the status of what failed, and
leaves a state from which the next installation goes on.
"""

from __future__ import annotations

PROBE = """
import json, os, sys
found = {"python": "%d.%d.%d" % sys.version_info[:3]}
for folder in sys.path:
    try:
        entries = os.listdir(folder or ".")
    except OSError:
        continue
    for entry in entries:
        stem, _, ending = entry.rpartition(".")
        if ending in ("dist-info", "egg-info"):
            package, _, version = stem.partition("-")
            package = package.lower().replace("_", "-")
            if package in ("numpy", "ai-edge-litert", "tflite-runtime"):
                found.setdefault(package, version.partition("-")[0])
print(json.dumps(found))
"""
"""For the device's Python: its version and those of the packages that matter, without importing them."""

FACTS = """
name=$1 root=$2 python=$3 digest=$4 probe=$5
home=${HOME:-}/.local/share/edge-models
abi=$(getprop ro.product.cpu.abi 2>/dev/null)
if [ -z "$root" ]; then
    for place in /opt "$home" /data/local/tmp/edge-models; do
        if [ -L "$place/$name/current" ]; then root=$place; break; fi
    done
fi
if [ -n "$root" ]; then :
elif [ -n "$abi" ] && [ -d /data/local/tmp ] && [ -w /data/local/tmp ]; then root=/data/local/tmp/edge-models
elif [ -w /opt ] || [ -w "/opt/$name" ]; then root=/opt
else root=$home; fi
there=${root%/}/$name up=${root%/}/$name
while [ ! -d "$up" ]; do up=${up%/*}; [ -n "$up" ] || up=/; done
printf 'root=%s\\n' "$root"
echo "machine=$(uname -m)"
echo "bits=$(getconf LONG_BIT 2>/dev/null)"
echo "abi=$abi"
if [ -w "$up" ]; then echo writable=yes; fi
df -Pk "$up" 2>/dev/null | tail -n 1 | { read -r _ _ _ free _; echo "free_kib=$free"; }
printf 'current=%s\\n' "$(readlink "$there/current" 2>/dev/null)"
printf 'previous=%s\\n' "$(readlink "$there/previous" 2>/dev/null)"
if [ -n "$digest" ] && [ -d "$there/releases/$digest" ]; then echo present=yes; fi
if command -v sha256sum >/dev/null; then echo hashes=yes; fi
echo "user=$(id -u)"
echo "unit=$(systemctl is-enabled "$name.service" 2>/dev/null)"
printf 'python=%s\\n' "$("$python" -c "$probe" 2>/dev/null)"
echo manifest
head -c 1048576 "$there/current/manifest.json" 2>/dev/null
exit 0
"""
"""name root-or-"" python digest-or-"" probe -> lines of ``key=value``, then the active manifest."""

LOCK = """
there=$1 id=$2 minutes=$3 break=$4 owner=$5
umask 022
mkdir -p "$there/releases" "$there/state" || exit 1
cd "$there" || exit 1
if ! mkdir .lock 2>/dev/null; then
    [ -d .lock ] || exit 1
    if [ -z "$break" ] && [ -z "$(find .lock -prune -mmin "+$minutes" 2>/dev/null)" ]; then
        cat .lock/owner .lock/holder
        exit 75
    fi
    mv .lock ".stale-$id" && mkdir .lock || exit 75
fi
echo "$owner" > .lock/owner && echo "$id" > .lock/holder || exit 1
rm -rf .stale-* .switch-* releases/.incoming-*
mkdir "releases/.incoming-$id" || exit 1
readlink current
echo =
readlink previous
exit 0
"""
"""folder id minutes break-or-"" owner -> the two links with = between; 75, its owner and id: it is taken."""

UNLOCK = """
cd "$1" || exit 1
[ "$(cat .lock/holder 2>/dev/null)" = "$2" ] || exit 0
rm -rf "releases/.incoming-$2" ".switch-$2" .lock
"""
"""folder id"""

HASHES = """
cd "$1" || exit 1
for file in .* *; do
    case $file in .|..) continue;; esac
    if [ -f "$file" ] && [ ! -L "$file" ]; then sha256sum "./$file" || exit 1
    elif [ -e "$file" ] || [ -L "$file" ]; then echo "other  $file"; fi
done
"""
"""folder -> lines of ``HASH  ./FILE``, or ``other  NAME`` of what is no plain file."""

SETTLE = """
cd "$1" || exit 1
id=$2 digest=$3
[ "$(cat .lock/holder 2>/dev/null)" = "$id" ] || exit 75
chmod 755 "releases/.incoming-$id" && chmod 644 "releases/.incoming-$id"/* || exit 1
sync
if [ -e "releases/$digest" ]; then mv "releases/$digest" "releases/.incoming-$id-old" || exit 1; fi
mv "releases/.incoming-$id" "releases/$digest" || exit 1
rm -rf "releases/.incoming-$id-old"
sync
"""
"""folder id digest: the pushed files become the release of that digest."""

SWITCH = """
cd "$1" || exit 1
id=$2 new=$3 old=$4
[ "$(cat .lock/holder 2>/dev/null)" = "$id" ] || exit 75
[ -d "$new" ] || exit 1
rm -rf ".switch-$id"
mkdir ".switch-$id" || exit 1
if [ -n "$old" ]; then
    ln -s "$old" ".switch-$id/previous" && mv -f ".switch-$id/previous" . || exit 1
fi
ln -s "$new" ".switch-$id/current" && mv -f ".switch-$id/current" . || exit 1
rmdir ".switch-$id"
sync
"""
"""folder id releases/NEW releases/OLD-or-"": both links lead to a whole version at every moment.

A link is moved into the folder where one of its name is, which is a rename(2) in coreutils, busybox and
toybox; with ``mv -T`` toybox 0.8.9 does not replace a link to a folder.
"""

LEAVE = """
cd "$1" || exit 1
[ "$(cat .lock/holder 2>/dev/null)" = "$2" ] || exit 75
rm -f current && sync
"""
"""folder id: no version is active, as before the first."""

REMOVE = """
cd "$1" || exit 1
[ "$(cat .lock/holder 2>/dev/null)" = "$2" ] || exit 75
shift 2
for digest in "$@"; do
    case $(readlink current):$(readlink previous) in *"$digest"*) continue;; esac
    rm -rf "releases/$digest" || exit 1
done
sync
"""
"""folder id digest...: versions that are neither active nor previous."""

LIST = """
cd "$1" 2>/dev/null || exit 0
for folder in releases/*/ releases/.kept-*/; do
    folder=${folder%/}
    if [ -f "$folder/manifest.json" ]; then
        size=$(du -sk "$folder" | { read -r kib _; echo "$kib"; })
        echo "== ${folder#releases/} $size $(stat -c %Y "$folder")"
        head -c 1048576 "$folder/manifest.json"
        echo
    fi
done
service=/var/lib/edge-models/${1##*/}
seen=$(stat -c %Y state/statistics.json "$service/statistics.json" 2>/dev/null | sort -n | tail -n 1)
if [ -n "$seen" ]; then echo "== statistics $(($(date +%s) - seen))"; fi
exit 0
"""
"""folder -> ``== DIGEST KIB TIME`` and a manifest for each version, then ``== statistics SECONDS``."""
