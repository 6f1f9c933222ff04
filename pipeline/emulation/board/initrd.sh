#!/bin/busybox sh
# The first process of the emulated board: loads the drivers of its disks and hands over to the root's /sbin/init.
/bin/busybox mount -t devtmpfs dev /dev
for module in virtio_ring virtio virtio_mmio virtio_blk failover net_failover virtio_net; do
    /bin/busybox insmod "/drivers/$module.ko"
done
/bin/busybox mount -t sysfs sys /sys
for disk in /sys/block/vd*; do
    read -r serial < "$disk/serial"
    /bin/busybox ln -s "/dev/${disk##*/}" "/disk-$serial"
done
/bin/busybox umount /sys
/bin/busybox mount -t ext4 -o noatime /disk-root /root || /bin/busybox poweroff -f
/bin/busybox mount -t ext4 -o noatime /disk-job /root/job || /bin/busybox poweroff -f
/bin/busybox mount --move /dev /root/dev
exec /bin/busybox switch_root /root /sbin/init
