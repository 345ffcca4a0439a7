//! Holds the protocol still: what goes over the wire, and who may call what, change only on purpose.
//!
//! A digest that differs prints the text it was made of, so that the difference can be found with an older build.

use std::fmt::Write;

use sha2::{Digest, Sha256};
use virt_api::protocol::shape::Shape;
use virt_api::protocol::table;

/// The digest of [`wire`].
const WIRE: &str = "91b12c323a68bdd5591cf4cf7d0b2d1c5b63e77c7b8cccf8995569257a391bf7";
/// The digest of [`rules`].
const RULES: &str = "e6d9614f59da5a6d0ba561b37a33502f9c9ab846a7e65303410b736f5f91cfd5";

/// Numbers, names, types and limits.
fn wire() -> String {
    let mut out = String::new();
    for program in table::programs() {
        let _ = writeln!(out, "{} {:#x} {}", program.name, program.number, program.version);
        for procedure in program.procedures {
            let _ = write!(
                out,
                "{} {} {:?}",
                procedure.number, procedure.name, procedure.kind
            );
            for shape in [procedure.args, procedure.reply] {
                out.push(' ');
                shape
                    .unwrap_or(&Shape::Struct {
                        name: "",
                        fields: &[],
                    })
                    .describe(&mut out);
            }
            out.push('\n');
        }
    }
    out
}

/// Who may call, when, and what is checked.
fn rules() -> String {
    let mut out = String::new();
    for procedure in table::programs().flat_map(|program| program.procedures) {
        let _ = writeln!(
            out,
            "{:#x} {} {:?} {:?} {:?} {:?} {} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
            procedure.program,
            procedure.number,
            procedure.on,
            procedure.module,
            procedure.owner,
            procedure.priority,
            procedure.before_auth,
            procedure.read_only,
            procedure
                .acl
                .iter()
                .map(|rule| (rule.permission, rule.when))
                .collect::<Vec<_>>(),
            procedure
                .filter
                .iter()
                .map(|rule| (rule.permission, rule.when))
                .collect::<Vec<_>>(),
            procedure.object,
            procedure.rules,
            procedure.counts,
            procedure.stream,
            (procedure.fds_in, procedure.fds_out),
        );
    }
    out
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[test]
fn the_wire_is_what_it_was() {
    let text = wire();
    assert_eq!(
        digest(&text),
        WIRE,
        "the wire has changed; if that was meant, note the new digest:\n{text}"
    );
}

#[test]
fn the_rules_are_what_they_were() {
    let text = rules();
    assert_eq!(
        digest(&text),
        RULES,
        "rules have changed; if that was meant, note the new digest:\n{text}"
    );
}
