//! One guest: started, told to go, listened to, killed. It says on which port it heard what; it does not judge it.

use crate::QEMU;
use crate::initramfs::Boot;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use strewn_tests::worker::end_with_this_thread;

/// Much longer than a guest takes to boot, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const MEMORY: &str = "512";

/// A disk of a guest.
#[derive(Clone)]
pub struct Disk {
    pub image: PathBuf,
    /// Where all writes and flushes are logged, if they are.
    pub log: Option<PathBuf>,
}

/// A running guest; killed when dropped.
pub struct Guest {
    child: Child,
    place: PathBuf,
    control: UnixStream,
}

/// What a worker does on one disk.
pub struct Task<'a> {
    pub file_system: &'a str,
    pub heap: &'a str,
    pub tracker: &'a str,
    pub seed: u64,
}

impl Guest {
    /// Starts a guest with these disks, from the start or, if `state` is given, from there. `place` is a directory for its sockets.
    pub fn start(boot: &Boot, place: &Path, disks: &[Disk], state: Option<&Path>) -> Self {
        let mut command = Command::new(QEMU);
        command.args([
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-M",
            "q35",
            "-accel",
            "tcg",
            "-cpu",
            "max,-cx16",
        ]);
        command.args(["-smp", "2", "-m", MEMORY, "-append", "console=ttyS0 quiet panic=-1"]);
        command.arg("-kernel").arg(&boot.kernel).arg("-initrd").arg(&boot.initramfs);
        command.arg("-serial").arg(format!("file:{}", console(place).display()));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", monitor(place).display()));
        command.args(["-device", "virtio-serial-pci"]);
        for number in 1..=disks.len() + 1 {
            let path = port(place, number);
            // It is there when the program listens.
            let _ = std::fs::remove_file(&path);
            let socket = format!("socket,id=port{number},path={},server=on,wait=off", path.display());
            command.args(["-chardev", &socket, "-device", &format!("virtserialport,chardev=port{number},nr={number}")]);
        }
        for (i, disk) in disks.iter().enumerate() {
            disk.add_to(&mut command, i);
        }
        if let Some(state) = state {
            command.arg("-incoming").arg(format!("exec:cat {}", state.display()));
        }
        end_with_this_thread(&mut command);
        let said = File::create(place.join("qemu.log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).spawn().unwrap();
        let control = connect(&mut child, place, &port(place, 1));
        Self { child, place: place.to_owned(), control }
    }

    /// Waits until it is ready to go.
    pub fn wait_ready(&mut self) {
        self.control.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = String::new();
        let heard = BufReader::new(&self.control).read_line(&mut line);
        assert_eq!((heard.is_ok(), line.trim()), (true, "READY"), "the guest does not come up:\n{}", self.describe());
    }

    /// Starts a worker on each disk. Returns what they say, disk by disk.
    pub fn go(&mut self, tasks: &[Task<'_>]) -> Vec<UnixStream> {
        let ports =
            (2..2 + tasks.len()).map(|number| connect(&mut self.child, &self.place, &port(&self.place, number)));
        let ports = ports.collect();
        let mut orders = String::new();
        for Task { file_system, heap, tracker, seed } in tasks {
            writeln!(orders, "go {file_system} {heap} {tracker} {seed}").unwrap();
        }
        self.control.write_all(format!("{orders}\n").as_bytes()).unwrap();
        ports
    }

    /// Connects to the machine's monitor.
    pub fn monitor(&mut self) -> UnixStream {
        connect(&mut self.child, &self.place, &monitor(&self.place))
    }

    /// Takes the machine's power away: the program that runs it is killed.
    pub fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the guest has ended by itself:\n{}", self.describe());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the program that runs the machine in good order, which writes its own files to their ends. The guest is not told.
    pub fn end(mut self) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id() as i32), nix::sys::signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}:\n{}", self.describe());
    }

    /// What the guest and the program that runs it printed.
    pub fn describe(&self) -> String {
        describe(&self.place)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Disk {
    fn add_to(&self, command: &mut Command, i: usize) {
        let file = |name: &str, path: &Path| format!("driver=file,node-name={name}{i},filename={}", path.display());
        command.args(["-blockdev", &file("image", &self.image)]);
        let mut top = format!("image{i}");
        if let Some(log) = &self.log {
            command.args(["-blockdev", &file("log", log)]);
            top = format!("logged{i}");
            let logged = format!("driver=blklogwrites,node-name={top},file=image{i},log=log{i},log-sector-size=512");
            command.args(["-blockdev", &logged]);
        }
        command.args(["-device", &format!("virtio-blk-pci,drive={top},discard=off,write-zeroes=off")]);
    }
}

fn console(place: &Path) -> PathBuf {
    place.join("console.log")
}

fn monitor(place: &Path) -> PathBuf {
    place.join("monitor")
}

fn port(place: &Path, number: usize) -> PathBuf {
    place.join(format!("port-{number}"))
}

/// What the guest and the program that runs it printed in `place`.
pub fn describe(place: &Path) -> String {
    let read = |path: PathBuf| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    format!("{QEMU}: {:?}\nconsole: {:?}", read(place.join("qemu.log")), read(console(place)))
}

fn connect(child: &mut Child, place: &Path, path: &Path) -> UnixStream {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return stream,
            Err(e) => {
                let ended = child.try_wait().unwrap();
                let patient = ended.is_none() && start.elapsed() < PATIENCE;
                assert!(patient, "{}: {e}; {ended:?}:\n{}", path.display(), describe(place));
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
