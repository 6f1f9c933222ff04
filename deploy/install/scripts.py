"""Scripts that run on a device: constant texts for a POSIX shell that take names and paths as arguments.

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

_LINE = 'head -c 1048576 "$1/manifest.json" 2>/dev/null | tr -d "\\r\\n"'

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
current=$(readlink "$there/current" 2>/dev/null)
previous=$(readlink "$there/previous" 2>/dev/null)
if [ -z "$python" ]; then
    python=$(readlink "$there/python/${current##*[/-]}" 2>/dev/null)
    [ -x "$python" ] || python=python3
fi
python=$(command -v "$python" 2>/dev/null)
case $python in /*) ;; */*) python=$PWD/$python ;; *) python= ;; esac
while [ ! -d "$up" ]; do up=${up%/*}; [ -n "$up" ] || up=/; done
say() { if [ "$1" "$2" ]; then echo yes; else echo no; fi; }
kind() {
    if [ -L "$there/releases" ] || [ -L "$1" ]; then echo link
    elif [ ! -e "$1" ]; then echo no
    elif [ ! -d "$1" ]; then echo file
    elif [ ! -O "$1" ]; then echo foreign
    else echo yes; fi
}
printf 'root=%s\n' "$root"
if [ -n "${HOME:-}" ]; then printf 'home=%s\n' "$home"; else echo home=; fi
echo "owner=$(stat -c %u "$there" 2>/dev/null)"
echo "machine=$(uname -m)"
echo "bits=$(getconf LONG_BIT 2>/dev/null)"
echo "abi=$abi"
echo "writable=$(say -w "$up")"
df -Pk "$up" 2>/dev/null | tail -n 1 | { read -r _ _ _ free _; echo "free_kib=$free"; }
printf 'current=%s\n' "$current"
printf 'previous=%s\n' "$previous"
if [ -n "$digest" ]; then echo "release_kind=$(kind "$there/releases/$digest")"; else echo release_kind=no; fi
if [ -n "$previous" ]; then echo "previous_kind=$(kind "$there/$previous")"; else echo previous_kind=no; fi
echo "hashes=$(say -n "$(command -v sha256sum)")"
echo "user=$(id -u)"
echo "unit=$(systemctl is-enabled "$name.service" 2>/dev/null)"
printf 'python=%s\n' "$python"
printf 'packages=%s\n' "$([ -z "$python" ] || "$python" -c "$probe" 2>/dev/null)"
printf 'highest=%s\\n' "$(head -c 200 "$there/highest" 2>/dev/null)"
printf 'manifest=%s\n' "$(LINE)"
exit 0
""".replace("LINE", _LINE.replace("$1", "$there/current"))
"""name root-or-"" python-or-"" digest-or-"" probe -> lines of ``key=value``.

Without a python it is the one that the active version was proved with, else ``python3``.
"""

LOCK = """
there=$1 id=$2 minutes=$3 break=$4 owner=$5
umask 022
mkdir -p "$there/releases" "$there/state" || exit 1
cd "$there" || exit 1
if ! mkdir .lock 2>/dev/null; then
    [ -d .lock ] || exit 1
    holder=$(cat .lock/holder 2>/dev/null)
    young=$(find .lock "releases/.incoming-$holder" -prune -mmin "-$minutes" 2>/dev/null)
    if [ -z "$break" ] && [ -n "$young" ]; then
        printf 'owner=%s\n' "$(cat .lock/owner 2>/dev/null)"
        printf 'holder=%s\n' "$holder"
        exit 75
    fi
    mv .lock ".stale-$id" && mkdir .lock || exit 75
fi
echo "$owner" > .lock/owner && echo "$id" > .lock/holder || exit 1
rm -rf .stale-* .switch-* releases/.incoming-*
mkdir "releases/.incoming-$id" || exit 1
printf 'current=%s\n' "$(readlink current)"
printf 'previous=%s\n' "$(readlink previous)"
exit 0
"""
"""folder id minutes break-or-"" owner -> ``current=`` and ``previous=``; 75, ``owner=`` and ``holder=``.

Its age is that of the last step: each script below touches it, and each push the folder that it goes to.
"""

UNLOCK = """
cd "$1" || exit 1
[ "$(cat .lock/holder 2>/dev/null)" = "$2" ] || exit 0
rm -rf "releases/.incoming-$2" ".switch-$2" .lock
"""
"""folder id"""

HELD = """
cd "$1" || exit 1
[ "$(cat .lock/holder 2>/dev/null)" = "$2" ] || exit 75
touch .lock || exit 1
"""
"""folder id: the lock is still held, and young again."""

HASHES = (
    HELD
    + """
[ -d "$3" ] && [ ! -L "$3" ] && cd "$3" || exit 1
for file in .* *; do
    case $file in .|..) continue;; esac
    if [ -f "$file" ] && [ ! -L "$file" ] && [ -O "$file" ]; then sha256sum "./$file" || exit 1
    elif [ -e "$file" ] || [ -L "$file" ]; then printf 'other  %s\n' "$file"; fi
done
"""
)
"""folder id releases/FOLDER -> ``HASH  ./FILE`` for each, or ``other  NAME`` of no file of this user's."""

SETTLE = (
    HELD
    + """
new=releases/.incoming-$2 old=releases/$3
chmod 755 "$new" && chmod 644 "$new"/* || exit 1
sync
if [ ! -e "$old" ]; then
    mv "$new" "$old" || exit 1
else
    # File by file: what leads to the version, and the version itself, are there at every moment.
    for file in "$old"/.* "$old"/*; do
        name=${file##*/}
        case $name in .|..) continue;; esac
        if [ ! -f "$new/$name" ] || [ -d "$file" ]; then rm -rf "$file" || exit 1; fi
    done
    for file in "$new"/*; do mv -f "$file" "$old/" || exit 1; done
    rmdir "$new" || exit 1
fi
sync
"""
)
"""folder id digest: the pushed files become the release of that digest, or repair it."""

RECORD = (
    HELD
    + """
[ "$(readlink "python/$3")" != "$4" ] || exit 0
if [ -z "$4" ]; then
    rm -f "python/$3" || exit 1
else
    rm -rf ".switch-$2"
    umask 022
    mkdir -p python && mkdir ".switch-$2" || exit 1
    ln -s "$4" ".switch-$2/$3" && mv -f ".switch-$2/$3" python/ || exit 1
    rmdir ".switch-$2"
fi
sync
echo changed
"""
)
"""folder id digest python-or-"" -> ``changed``, or nothing: the Python that a service runs the version with.

The link is read, not followed: a virtual environment's Python finds its packages by its own path alone.
"""

SWITCH = (
    HELD
    + """
id=$2 new=$3 old=$4
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
)
"""folder id releases/NEW releases/OLD-or-"": both links lead to a whole version at every moment.

A link is moved into the folder where one of its name is, which is a rename(2) in coreutils, busybox and
toybox; with ``mv -T`` toybox 0.8.9 does not replace a link to a folder.
"""

REMEMBER = (
    HELD
    + """
printf '%s %s\\n' "$3" "$4" > ".switch-$2" && sync && mv -f ".switch-$2" highest || exit 1
sync
"""
)
"""folder id counter digest: the highest version that was ever active, for the next installation."""

LEAVE = HELD + "rm -f current && sync\n"
"""folder id: no version is active, as before the first."""

REMOVE = (
    HELD
    + """
shift 2
for digest in "$@"; do
    case $(readlink current):$(readlink previous) in *"$digest"*) continue;; esac
    rm -rf "releases/$digest" "python/$digest" || exit 1
done
sync
"""
)
"""folder id digest...: versions that are neither active nor previous."""

LIST = """
cd "$1" 2>/dev/null || exit 0
for folder in releases/*/ releases/.kept-*/; do
    folder=${folder%/} name=${folder#releases/}
    digest=${name#.kept-}
    case $digest in *[!0-9a-f]*) continue;; esac
    if [ "${#digest}" = 64 ] && [ ! -L "$folder" ] && [ -f "$folder/manifest.json" ]; then
        size=$(du -sk "$folder" | { read -r kib _; echo "$kib"; })
        printf 'version %s %s %s ' "$name" "$size" "$(stat -c %Y "$folder")"
        printf '%s\n' "$(LINE)"
    fi
done
service=/var/lib/edge-models/${1##*/}
seen=$(stat -c %Y state/statistics.json "$service/statistics.json" 2>/dev/null | sort -n | tail -n 1)
if [ -n "$seen" ]; then echo "statistics $(($(date +%s) - seen))"; fi
exit 0
""".replace("LINE", _LINE.replace("$1", "$folder"))
"""folder -> ``version FOLDER KIB TIME MANIFEST`` for each, then ``statistics SECONDS`` if there are some."""

MANIFEST = f"""printf 'manifest=%s\\n' "$({_LINE})"\n"""
"""folder -> ``manifest=`` and what it has of one, in one line."""
