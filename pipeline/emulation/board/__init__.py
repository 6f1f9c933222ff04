"""The emulated board: a whole arm64 machine under qemu, with its own kernel, memory, boot and sshd."""
