//! What the operating system gave to the process.
use std::fs::File;
use strewn::Persist;

#[derive(Persist)]
struct Log {
    file: File,
    peer: Option<std::net::TcpStream>,
    worker: std::thread::JoinHandle<()>,
}

fn main() {}
