#!/usr/bin/env bash
# Everything that waits for a GPU: one command per stage, at most nine minutes each, results in one folder of small files.
#
#   bash benchmarks/gpu_day.sh OUT                 # every stage, one after the other
#   bash benchmarks/gpu_day.sh OUT forward scene   # only these; in this order
#   bash benchmarks/gpu_day.sh --dry-run OUT       # print the commands
#   bash benchmarks/gpu_day.sh --tiny OUT          # the same commands, smallest sizes, on a CPU: does each one run?
#
# OUT/STAGE.md is what the stage printed, OUT/STAGE.status its exit code and seconds; a stage that has finished is not run
# again. Rendered data and trained weights are in OUT/work, which need not be kept: OUT/weights has the mini's.
set -u

dry=false tiny=false
while [[ "${1:-}" == --* ]]; do
    case "$1" in
        --dry-run) dry=true ;;
        --tiny) tiny=true ;;
        *) echo "gpu_day: expected --dry-run or --tiny, got $1" >&2; exit 2 ;;
    esac
    shift
done
[[ $# -ge 1 ]] || { echo "gpu_day: expected a folder for the results" >&2; exit 2; }
out=$1 work=$1/work limit=540
shift
cd "$(dirname "$0")/.." || exit 2
export PYTHONPATH=$PWD

if $tiny; then
    frames="1" model="--size mini --device cpu" repeats="--repeats 1" clips=2 held_out=1 minutes="--steps 1" workers=1
    loop="--loop.steps 1" steps="--steps 1" counted="--frames 2 --people 1 --device cpu" view="--points 2000 --frames 2"
    scored=1 detecting="--loop.steps 1 --batch 1" timed="--size mini --frames 2 --people 1 --device cpu" profiled=1
else
    frames="8 16 30 60 120" model="" repeats="" clips=800 held_out=60 minutes="--minutes 8" workers=$(nproc)
    loop="--loop.steps 400" steps="" counted="" view=""
    scored=40 detecting="--loop.steps 3000 --batch 32" timed="" profiled=3
fi

stages=(forward compiled clip profile capacity loading steps viewer render scene human align score detector stage1 stage2 stage3)

# The command of a stage.
command_of() {
    case "$1" in
        forward) echo "python benchmarks/forward.py --frames $frames $model $repeats" ;;
        compiled) echo "python benchmarks/forward.py --frames $frames --compile --no-plain $model $repeats" ;;
        clip) echo "python benchmarks/clip.py $timed" ;;
        profile) echo "python benchmarks/run_profile.py --repeats $profiled" ;;
        capacity) echo "python benchmarks/capacity.py $counted" ;;
        loading) echo "python benchmarks/loading.py $model" ;;
        steps) echo "python benchmarks/stage_step.py $model $steps" ;;
        viewer) echo "python benchmarks/viewer.py $view" ;;
        render) echo "python -m train.synthetic --out $work/data --clips $clips --workers $workers &&" \
            "python -m train.synthetic --out $work/data --clips $held_out --workers $workers --split validation" ;;
        scene) echo "accelerate launch train/pretrain.py --data $work/data --out $work/scene --parts scene $minutes" ;;
        human) echo "accelerate launch train/pretrain.py --data $work/data --out $work/human --parts human $minutes" ;;
        align) echo "accelerate launch train/pretrain.py --data $work/data --out $work/align --parts align" \
            "--scene-from $work/scene --human-from $work/human $minutes && mkdir -p $out/weights &&" \
            "cp $work/align/model.safetensors $work/align/config.json $out/weights" ;;
        score) echo "python -m train.score --weights $out/weights --synthetic-clips $scored" ;;
        detector) echo "python -m train.person_detector train --rendered $work/data --out $work/detector $detecting" ;;
        stage1) echo "accelerate launch train/stage1.py --data $work/data --start $out/weights --out $work/stage1 $loop" ;;
        stage2) echo "accelerate launch train/stage2.py --data $work/data --start $work/stage1 --out $work/stage2 $loop" ;;
        stage3) echo "accelerate launch train/stage3.py --data $work/data --start $work/stage2 --out $work/stage3 $loop" ;;
        *) return 1 ;;
    esac
}

[[ $# -gt 0 ]] && stages=("$@")
for stage in "${stages[@]}"; do
    command_of "$stage" >/dev/null || { echo "gpu_day: expected a stage, got $stage; they are in this file" >&2; exit 2; }
done
if $dry; then
    for stage in "${stages[@]}"; do echo "$stage: $(command_of "$stage")"; done
    exit 0
fi

mkdir -p "$work"
{ date -u +%Y-%m-%d; nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || echo "no NVIDIA GPU"; } \
    >"$out/machine.txt" 2>/dev/null
failed=0
for stage in "${stages[@]}"; do
    if grep -qs "^exit 0 " "$out/$stage.status"; then
        echo "$stage: finished before"
        continue
    fi
    command=$(command_of "$stage") began=$SECONDS
    echo "$stage: $command"
    timeout "$limit" bash -c "$command" >"$out/$stage.md.part" 2>"$out/$stage.log"
    code=$?
    tail -c 20000 "$out/$stage.log" >"$out/$stage.log.part" && mv "$out/$stage.log.part" "$out/$stage.log"
    mv "$out/$stage.md.part" "$out/$stage.md"
    echo "exit $code after $((SECONDS - began)) s: $command" >"$out/$stage.status"
    if [[ $code -ne 0 ]]; then
        echo "$stage: failed with exit code $code (124: over $limit s); see $out/$stage.log" >&2
        failed=1
    fi
done
exit $failed
