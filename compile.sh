#!/usr/bin/env bash
# Builds the program into dist/:
#   nucleus          the standalone executable (Bun inside), for this machine's system and processor
#   nucleus.mjs      one file for Node >= 20.19 (and what profilers look at: not minified)
#   nucleus.gz       the executable, packed for shipping
#   nucleus.sha256   checksums of all of them
#
#   ./compile.sh [--fast] [--if-stale]
#     --fast       leave out nucleus.gz
#     --if-stale   do nothing if the executable is newer than everything it is built from
#
# The same commit gives the same bytes: no date goes in, and the commit is named by NUCLEUS_COMMIT or git.
# Files are built aside and renamed into place, so a running nucleus keeps its own file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fast=false
if_stale=false
for argument in "$@"; do
  case "$argument" in
    --fast) fast=true ;;
    --if-stale) if_stale=true ;;
    *)
      echo "compile.sh: unknown argument $argument (known: --fast --if-stale)" >&2
      exit 2
      ;;
  esac
done

sources=(src package.json package-lock.json tsconfig.json compile.sh)

if $if_stale && [[ -x dist/nucleus && -f dist/nucleus.mjs ]] &&
  [[ -z "$(find "${sources[@]}" -newer dist/nucleus -print -quit)" ]]; then
  exit 0
fi

bun=node_modules/.bin/bun
if [[ ! -x $bun ]] && ! bun="$(command -v bun)"; then
  echo "compile.sh: no bun here: run 'npm ci' first" >&2
  exit 1
fi

commit="${NUCLEUS_COMMIT:-}"
if [[ -z $commit ]]; then
  if commit="$(git rev-parse --short=12 HEAD 2>/dev/null)"; then
    if [[ -n "$(git status --porcelain -- "${sources[@]}")" ]]; then commit+="-dirty"; fi
  else
    commit=unknown
  fi
fi

mkdir -p dist
aside="$(mktemp -d dist/.build.XXXXXX)"
trap 'rm -rf "$aside"' EXIT
# The result is as old as the sources it was read from: what changes during the build makes it stale again.
touch "$aside/started"

quiet() { # runs a command, and shows what it said only if it failed
  local log="$aside/log"
  "$@" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
}

define=(--define "NUCLEUS_COMMIT=\"$commit\"")
# Function names and a source map stay in: a failed assertion must say where. They cost 0.1 % of the size.
quiet "$bun" build --compile --minify --keep-names --bytecode --format=esm --sourcemap=inline \
  --no-compile-autoload-dotenv --no-compile-autoload-bunfig \
  "${define[@]}" --outfile="$aside/nucleus" src/cli/main.ts
quiet "$bun" build --target=node --format=esm "${define[@]}" --outfile="$aside/nucleus.mjs" src/cli/main.ts
chmod 755 "$aside/nucleus" "$aside/nucleus.mjs"

outputs=(nucleus nucleus.mjs)
if ! $fast; then
  gzip -6nk "$aside/nucleus"
  outputs+=(nucleus.gz)
fi
if command -v sha256sum >/dev/null; then sha256=(sha256sum); else sha256=(shasum -a 256); fi
(cd "$aside" && "${sha256[@]}" "${outputs[@]}" >nucleus.sha256)

if $fast; then rm -f dist/nucleus.gz; fi # it would be another build's
for file in nucleus.mjs nucleus.gz nucleus.sha256 nucleus; do
  if [[ -f "$aside/$file" ]]; then
    touch -r "$aside/started" "$aside/$file"
    mv -f "$aside/$file" "dist/$file"
  fi
done

printf '%-16s %12s\n' "dist/ ($commit)" bytes
for file in "${outputs[@]}"; do printf '%-16s %12d\n' "$file" "$(wc -c <"dist/$file")"; done
