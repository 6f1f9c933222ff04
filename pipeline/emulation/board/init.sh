#!/bin/busybox sh
# Process 1 of the emulated board: mounts what Linux programs expect, runs the job's `start` in /job, packs what
# that left in /run/results onto the disk "results", and switches the board off.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root LC_ALL=C PYTHONUTF8=1 PYTHONHASHSEED=0 PYTHONPATH=/site
alias mount="/bin/busybox mount"
mount -t proc proc /proc
mount -t sysfs sys /sys
[ -e /dev/null ] || mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "+memory +cpu" > /sys/fs/cgroup/cgroup.subtree_control
/bin/busybox hostname board
/bin/busybox ifconfig lo 127.0.0.1 up
/bin/busybox mkdir /run/results
echo "BOARD BOOTED" > /dev/console
cd /job || exit
/bin/busybox sh ./start
echo "BOARD ENDED $?" > /dev/console
# Without a disk so far, the drivers are loaded only now: a disk's answers come in real time.
for module in virtio_ring virtio virtio_mmio virtio_blk; do
    [ -e "/drivers/$module.ko" ] && /bin/busybox insmod "/drivers/$module.ko"
done
for disk in /sys/block/vd*; do
    read -r serial < "$disk/serial"
    [ "$serial" = results ] && /bin/busybox tar -cf "/dev/${disk##*/}" -C /run/results .
done
exec /bin/busybox poweroff -f
