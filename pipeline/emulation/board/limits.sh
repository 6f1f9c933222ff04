# The job of the memory faults: the least memory.max in which the model runs, and a restart after SIGKILL.
# Every attempt leaves NAME.json where it came to its end, and a line "NAME STATUS KILLS" in `attempts`.
run() { # NAME PLAN
    exec /usr/bin/python3.11 -S -s -B job.py "$2" "/run/results/$1.json" 2> "/run/results/$1.log"
}

attempt() { # MIB
    group=/sys/fs/cgroup/memory-$1
    mkdir "$group"
    echo $(($1 << 20)) > "$group/memory.max"
    # Pages that an attempt before read in are charged to nobody: let them go.
    sync
    echo 3 > /proc/sys/vm/drop_caches
    (
        sh -c 'echo $PPID' > "$group/cgroup.procs"
        run "memory-$1" probe.json
    ) &
    waiting=$!
    (sleep "$ATTEMPT_S"; kill -9 $waiting) 2> /dev/null &
    clock=$!
    wait $waiting
    status=$?
    kill $clock 2> /dev/null
    kills=$(sed -n 's/^oom_kill //p' "$group/memory.events")
    rm -f "/run/results/memory-$1.log"
    echo "memory-$1 $status $kills" >> /run/results/attempts
    return $status
}

. ./settings
(run killed endless.json) &
running=$!
until [ -e /run/ready ]; do
    sleep 0.1
    kill -0 $running 2> /dev/null || break
done
sleep 1
kill -9 $running
wait $running
echo "killed $? 0" >> /run/results/attempts
began=$(cut -d. -f1 /proc/uptime)
(run restarted probe.json) || exit 1
ended=$(cut -d. -f1 /proc/uptime)
ATTEMPT_S=$(((ended - began + 1) * PATIENCE))
peak=$(sed 's/.*"peak_bytes": \([0-9]*\).*/\1/' /run/results/restarted.json)

# What is resident at most is enough, give or take what the kernel charges beside it.
low=$MIN_MIB
high=$(((peak >> 20) + 2 * STEP_MIB))
attempt $low && exit 0
attempt $high || exit 0
while [ $((high - low)) -gt $STEP_MIB ]; do
    middle=$(((low + high) / 2))
    if attempt $middle; then high=$middle; else low=$middle; fi
done
exit 0
