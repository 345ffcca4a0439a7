//! Says of each document whether the schema for its root allows it: `verdict FILE…`.
use virt_conf::schema;
use virt_util::xml::Doc;

fn main() {
    for path in std::env::args().skip(1) {
        let Ok(source) = std::fs::read_to_string(&path) else {
            continue;
        };
        match Doc::parse(&source).and_then(|doc| schema::check(&doc)) {
            Ok(()) => println!("{path}\tok"),
            Err(error) => println!("{path}\t{}", error.message()),
        }
    }
}
