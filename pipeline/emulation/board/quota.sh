# The job of the processor's faults: the model under a quota of the core's time, in deterministic time.
run() { # NAME PERCENT
    group=/sys/fs/cgroup/$1
    /bin/busybox mkdir "$group"
    echo "$(($2 * 1000)) 100000" > "$group/cpu.max"
    (
        /bin/busybox sh -c 'echo $PPID' > "$group/cgroup.procs"
        exec /usr/bin/python3.11 -S -s -B job.py plan.json "/run/results/$1.json" 2> "/run/results/$1.log"
    )
}

. ./settings
for percent in $PERCENTS; do
    run "quota-$percent" "$percent" || exit 1
done
