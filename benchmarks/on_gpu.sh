#!/usr/bin/env bash
# Everything that wants a GPU, in one call of under nine minutes, for one card of Hopper's kind or newer:
#
#   bash benchmarks/on_gpu.sh OUT               every part, the most important first
#   bash benchmarks/on_gpu.sh OUT 768 tests     some parts: what failed is mended and run again
#   bash benchmarks/on_gpu.sh --device cpu --tiny OUT    a trial on any machine: does every part start?
#
# OUT gets seven files at most: summary.md, to be read first; log.txt with all that was printed, tracebacks too;
# results.json; overview.png and curves.png; starter.csv and pos.csv, the losses of the two trainings. A part
# that fails, or that takes longer than its limit, costs only itself. OUT is complete after every part.
#
# Needed: a Python (PYTHON=python3.12 chooses one) with torch 2.11 to 2.14 for CUDA, torchaudio, torch-geometric,
# lightning, transformers, scikit-learn, sacrebleu, hypothesis, pytest, and those below. The network is not. Where
# the machine cannot install the rest, take it along in benchmarks/wheels (34 MiB for Python 3.12 on x86-64; the
# folder is not tracked). Fetch it elsewhere with
#
#   python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
#       -d benchmarks/wheels rdkit soundfile cffi pycparser tomli-w beartype \
#       x-transformers einx frozendict loguru torch-einops-utils
#
# Part `pos` wants the files of UD English-EWT in $MULTISEQ_DATA/text_pos/UD_English-EWT or in benchmarks/data,
# which is not tracked either (3 MiB: en_ewt-ud-train.conllu.gz, -dev.conllu, -test.conllu).
set -uo pipefail

usage() { echo "usage: bash benchmarks/on_gpu.sh [--device cuda|cpu] [--tiny] OUT [PART]..." >&2; exit 2; }

device=cuda tiny= out= chosen=()
while (($#)); do
    case $1 in
        --device) device=${2:?}; shift ;;
        --tiny) tiny=1 ;;
        -*) usage ;;
        *) if [[ -z $out ]]; then out=$1; else chosen+=("$1"); fi ;;
    esac
    shift
done
[[ -n $out && ($device == cuda || $device == cpu) ]] || usage

mkdir -p "$out" && out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} MPLBACKEND=agg PYTHONUNBUFFERED=1
: >"$out/log.txt"

wheels=(benchmarks/wheels/*.whl)
if [[ -e ${wheels[0]} ]]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$work/site" "${wheels[@]}" \
        >>"$out/log.txt" 2>&1
    export PYTHONPATH=$PYTHONPATH:$work/site
fi

part() { # part NAME SECONDS COMMAND...: run it within its limit, and gather what there is by then
    local name=$1 limit=$2 start=$SECONDS state
    shift 2
    ((${#chosen[@]} == 0)) || [[ " ${chosen[*]} " == *" $name "* ]] || return 0
    printf '\n== %s: %s\n' "$name" "$*" | tee -a "$out/log.txt"
    timeout -k 5 $((limit * patience)) "$@" >>"$out/log.txt" 2>&1
    state=$?
    printf '%s\t%s\t%s\t%s\n' "$name" "$state" $((SECONDS - start)) "$limit" >>"$work/parts.tsv"
    printf '== %s: exit code %s after %s s\n' "$name" "$state" $((SECONDS - start)) | tee -a "$out/log.txt"
    "$python" -m benchmarks.gather "$work" "$out" >>"$out/log.txt" 2>&1 || echo "gather failed, see log.txt" >&2
}

bench() { # bench NAME SECONDS WIDTH ARGUMENTS...: some parts of the benchmark at a width
    local name=$1 limit=$2 width=$3
    shift 3
    part "$name" "$limit" "$python" -m benchmarks --device "$device" --dim "$width" "${size[@]}" \
        --out "$work/$name" "$@"
}

patience=1
if [[ -n $tiny ]]; then
    patience=5 # what is timed is how long a GPU takes, not this machine
    export MULTISEQ_QUICK=1 OMP_NUM_THREADS=1
    size=(--depth 1 --sets 4 --draws 1 --workload mixed)
    widths=(64 96 32) some=() fewer=()
    others=(limits) # of the other widths; the first one starts every part of the benchmark
    tests=(tests/nn/test_gpu.py)
    small=(--set encoder.dim=32 --set encoder.depth=1 --set encoder.heads=2 --set training.steps=2
        --set training.evaluate_every=0)
    large=("${small[@]}")
else
    size=(--depth 12 --draws 1)
    widths=(768 1024 256) some=(--workload mixed) fewer=(--sets 680)
    others=(limits encoders)
    tests=(tests/nn/test_gpu.py $(grep -rl --include="test_*.py" "mark.gpu" tests))
    small=()
    large=(--set encoder.dim=512 --set encoder.depth=8 --set encoder.heads=8 --set training.max_vectors=32768
        --set training.steps=120 --set training.evaluate_every=0)
fi
if [[ $device == cpu ]]; then export MULTISEQ_GPU_TESTS=cpu; fi

data=benchmarks/data
[[ -z ${MULTISEQ_DATA:-} ]] || data=$MULTISEQ_DATA/text_pos/UD_English-EWT

# Warnings are no errors here: the libraries of the machine may be other ones.
jobs=()
if [[ $device == cuda ]] && "$python" -c "import xdist" 2>/dev/null; then jobs=(-n 12); fi
part tests 110 "$python" -m pytest -m gpu -v -rs -W default "${jobs[@]}" --continue-on-collection-errors \
    --durations=10 -p no:cacheprovider "${tests[@]}"
bench "${widths[0]}" 70 "${widths[0]}" limits kernels variants "${some[@]}"
bench "${widths[0]}-peers" 55 "${widths[0]}" encoders "${some[@]}" "${fewer[@]}"
if [[ -d $data ]]; then
    part pos 70 "$python" -m multiseq train english-pos --data "$data" --out "$work/pos" --set training.ensemble=1 "${large[@]}"
else
    echo "pos: left out, $data is not there" | tee -a "$out/log.txt"
fi
part starter 120 "$python" -m multiseq train --out "$work/starter" "${small[@]}"
bench "${widths[1]}" 65 "${widths[1]}" "${others[@]}" "${some[@]}" "${fewer[@]}"
bench "${widths[2]}" 45 "${widths[2]}" "${others[@]}" "${some[@]}" "${fewer[@]}"
if [[ ! -e $work/parts.tsv ]]; then
    echo "PART: got ${chosen[*]}, expected some of tests ${widths[0]} ${widths[0]}-peers pos starter ${widths[1]} ${widths[2]}" >&2
    exit 2
fi
cat "$out/summary.md"
