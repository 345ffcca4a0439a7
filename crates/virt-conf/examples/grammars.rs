//! Writes a RELAX NG file for each format, called as libvirt calls them: `grammars FOLDER`.
use virt_conf::data::FORMATS;
use virt_conf::schema::{grammar_file, grammar_of};

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: grammars FOLDER");
        std::process::exit(2);
    };
    for format in FORMATS {
        let (Some(name), Some(text)) = (grammar_file(format.root), grammar_of(format.root)) else {
            eprintln!("{} has no grammar", format.root);
            std::process::exit(1);
        };
        let path = std::path::Path::new(&folder).join(format!("{name}.rng"));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
        if let Err(error) = written {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
}
