//! `volume-mover up|down URI VOLUME FILE`: a file into a volume, or a volume into a file, through the API as a program that
//! embeds it does; for `cargo xtask bench`, beside the same commands of stock virsh.
#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    reason = "a helper of the bench ends with what it could not do"
)]

use std::fs::File;
use std::io::{Read, Write};

use virt_api::objects::{Connect, Received};

/// How much is moved at once.
const PIECE: usize = 256 << 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [way @ ("up" | "down"), uri, volume, file] = words[..] else {
        eprintln!("usage: volume-mover up|down URI VOLUME FILE");
        std::process::exit(2);
    };
    let connection = Connect::open(uri).expect("a connection");
    let volume = connection.lookup_storage_vol_by_path(volume).expect("the volume");
    let mut piece = vec![0; PIECE];
    match way {
        "up" => {
            let mut file = File::open(file).expect("the file");
            let stream = volume.upload(0, 0, Default::default()).expect("an upload");
            loop {
                let count = file.read(&mut piece).expect("the file's content");
                if count == 0 {
                    break;
                }
                stream.end().send_all(&piece[..count]).expect("data goes");
            }
            stream.finish().expect("all of it is there");
        }
        _ => {
            let mut file = File::create(file).expect("the file");
            let stream = volume.download(0, 0, Default::default()).expect("a download");
            while let Received::Data(count @ 1..) = stream.receive(&mut piece).expect("data comes") {
                file.write_all(&piece[..count]).expect("room in the file");
            }
            stream.finish().expect("all of it has come");
        }
    }
}
