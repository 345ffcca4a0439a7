//! Says of each document whether the schema for its root allows it, and what it does not: `verdict FILE…`.

use std::process::ExitCode;

use virt_conf::schema;
use virt_util::xml::Doc;

fn main() -> ExitCode {
    let mut all_allowed = true;
    for path in std::env::args().skip(1) {
        let verdict = match std::fs::read_to_string(&path) {
            Ok(source) => match Doc::parse(&source).and_then(|doc| schema::check(&doc)) {
                Ok(()) => Ok(()),
                Err(error) => Err(error.message().to_owned()),
            },
            Err(error) => Err(error.to_string()),
        };
        all_allowed &= verdict.is_ok();
        println!("{path}\t{}", verdict.err().as_deref().unwrap_or("ok"));
    }
    ExitCode::from(u8::from(!all_allowed))
}
