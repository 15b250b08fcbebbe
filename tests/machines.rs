//! Whole machines that lose their memory, and their disks' caches: QEMU guests in which workers say what is durable.
//!
//! Root, `STREWN_MACHINES=1`, qemu-system-x86_64, busybox, kmod, and a kernel: the newest in `STREWN_KERNEL/boot` with its modules in
//! `STREWN_KERNEL/lib/modules`, or in `/`. Else `SKIP: why`. `STREWN_CRASH=long` tries eight times as often, `STREWN_ROUNDS` says how often, `STREWN_SEED`
//! replays the choices (not the guest).

#[path = "machines/guest.rs"]
mod guest;
#[path = "machines/initramfs.rs"]
mod initramfs;
#[path = "machines/killed.rs"]
mod killed;
#[path = "machines/monitor.rs"]
mod monitor;
#[path = "machines/replayed.rs"]
mod replayed;
#[path = "machines/write_log.rs"]
mod write_log;

use strewn_tests::disks::FileSystem;

const WORKER: &str = env!("CARGO_BIN_EXE_strewn-disk-worker");
const QEMU: &str = "qemu-system-x86_64";
const DISK_BYTES: u64 = 320 << 20;

/// The disks of a guest, and what their workers track with: whatever the guest's kernel has, and what all have.
const DISKS: [(FileSystem, &str); 2] = [(FileSystem::Xfs, "any"), (FileSystem::Ext4, "signal")];
