//! Writes a RELAX NG file for each format: `grammars FOLDER`.
use virt_conf::data::FORMATS;
use virt_conf::schema::grammar_of;

fn main() {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: grammars FOLDER");
        std::process::exit(2);
    };
    for format in FORMATS {
        let path = std::path::Path::new(&folder).join(format!("{}.rng", format.root));
        let text = grammar_of(format.root).unwrap_or_default();
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("{}: {error}", path.display());
            std::process::exit(1);
        }
    }
}
