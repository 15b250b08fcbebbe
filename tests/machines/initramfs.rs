//! The kernel and the initial file system of a guest: busybox, the modules that its disks need, the worker and its libraries.
//!
//! The guest says `READY` on its first port, reads `go FILE-SYSTEM HEAP TRACKER SEED`, one of them for each disk, up to an empty line, and then runs one worker for each disk,
//! which writes to a port of its own. It touches no disk before that, so that one saved state serves many disks.

use crate::{QEMU, WORKER};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strewn_tests::disks::{may_mount, missing, place, run};
use strewn_tests::process::has_program;

/// What the guest does first, and all that it does.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
for module in /modules/early/*; do insmod "$module"; done
until ls /dev/vport*p1 >/dev/null 2>&1; do sleep 0.05; done
control=$(echo /dev/vport*p1)
exec 3<>"$control"
echo READY >&3
port=2
set -- a b c d
: >/tmp/go
while read -r word rest <&3 && [ "$word" = go ]; do echo "$rest" >>/tmp/go; done
for module in /modules/late/*; do insmod "$module"; done
while read -r type heap tracker seed; do
    disk=/dev/vd$1 dir=/disk-$1
    shift
    until [ -b "$disk" ]; do sleep 0.05; done
    mkdir -p "$dir"
    mount -t "$type" "$disk" "$dir" || echo "cannot mount $disk"
    /worker "$dir/$heap" "$tracker" "$seed" 8000 >"${control%1}$port" &
    port=$((port + 1))
done </tmp/go
while :; do sleep 1000; done
"#;

/// What a guest boots.
pub struct Boot {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
}

impl Boot {
    /// A place for disks, and what guests boot; or says aloud why `what` cannot be tried here.
    pub fn prepare(what: &str) -> Option<(tempfile::TempDir, Self)> {
        if !may_mount(what) {
            return None;
        }
        let place = place();
        let boot = if has_program(QEMU) { Self::new(place.path()) } else { Err(format!("no {QEMU}")) };
        boot.map_err(|why| missing(what, &why)).ok().map(|boot| (place, boot))
    }

    /// Makes one in `place`.
    ///
    /// # Errors
    /// What is missing.
    fn new(place: &Path) -> Result<Self, String> {
        let root = std::env::var_os("STREWN_KERNEL").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let (kernel, version) = newest_kernel(&root)?;
        let tree = place.join("tree");
        for dir in ["bin", "dev", "proc", "sys", "tmp", "modules/early", "modules/late"] {
            fs::create_dir_all(tree.join(dir)).map_err(|e| e.to_string())?;
        }
        copy(&find_program("busybox")?, &tree.join("bin/busybox"))?;
        copy(Path::new(WORKER), &tree.join("worker"))?;
        for library in libraries(Path::new(WORKER))? {
            copy(&library, &tree.join(library.strip_prefix("/").unwrap_or(&library)))?;
        }
        modules(&root, &version, &["virtio_pci", "virtio_console", "xfs", "ext4"], &tree.join("modules/early"))?;
        modules(&root, &version, &["virtio_blk"], &tree.join("modules/late"))?;
        let init = tree.join("init");
        fs::write(&init, INIT)
            .and_then(|()| fs::set_permissions(&init, Permissions::from_mode(0o755)))
            .map_err(|e| e.to_string())?;
        let initramfs = place.join("initramfs");
        let pack = "find . | busybox cpio -o -H newc >\"$0\"";
        run(Command::new("busybox").args(["sh", "-c", pack]).arg(&initramfs).current_dir(&tree))?;
        Ok(Self { kernel, initramfs })
    }
}

/// The newest kernel under `root`, and its version.
fn newest_kernel(root: &Path) -> Result<(PathBuf, String), String> {
    let boot = root.join("boot");
    let entries = fs::read_dir(&boot).map_err(|e| format!("no kernel: {}: {e}", boot.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest =
        names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned())).max_by_key(|version| numbers(version));
    let version = newest.ok_or_else(|| format!("no kernel: no {}/vmlinuz-*", boot.display()))?;
    Ok((boot.join(format!("vmlinuz-{version}")), version))
}

/// The numbers of a version, to compare it by.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

fn find_program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("no {name}"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let parent = to.parent().unwrap_or(to);
    fs::create_dir_all(parent)
        .and_then(|()| fs::copy(from, to))
        .map_err(|e| format!("copy {}: {e}", from.display()))?;
    Ok(())
}

fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(format!("{command:?}: {}", err.trim())) }
}

/// The libraries that a program loads, its loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let said = output_of(Command::new("ldd").arg(program))?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// Puts these modules, and those that they need, into `to`, in the order in which they are to be loaded.
fn modules(root: &Path, version: &str, names: &[&str], to: &Path) -> Result<(), String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for name in names {
        let mut command = Command::new("modprobe");
        command.args(["-C", "/dev/null", "-S", version, "--show-depends", name]).arg("-d").arg(root);
        for line in output_of(&mut command)?.lines() {
            // Others are `builtin NAME`.
            let Some(file) = line.strip_prefix("insmod ") else { continue };
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    for (i, file) in files.iter().enumerate() {
        let unpacked = File::create(to.join(format!("{i:02}.ko"))).map_err(|e| e.to_string())?;
        let unpack = match file.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => "xzcat",
            Some("zst") => "zstdcat",
            Some("gz") => "zcat",
            _ => "cat",
        };
        run(Command::new(unpack).arg(file).stdout(Stdio::from(unpacked)))?;
    }
    Ok(())
}
