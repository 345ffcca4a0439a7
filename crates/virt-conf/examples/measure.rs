//! What the domain model costs, in this process: `measure parse|format|bytes FILE ROUNDS`.
//!
//! Prints one number: microseconds a round (parse and complete; format), or how many bytes of memory each byte of the
//! document costs while its domain is kept. `cargo xtask bench` puts it beside what stock libvirt takes.

use std::hint::black_box;
use std::time::Instant;
use virt_conf::domain::Domain;
use virt_conf::domain::normalize::{NoHooks, NormalizeContext, NormalizeFlags, SystemRandomness, normalize};
use virt_conf::domain::validate::validate;
use virt_util::xml::XmlFlags;
use virt_util::{ErrorCode, Result, VirtError};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.as_slice() {
        [what, file, rounds] => measure(what, file, rounds),
        _ => Err(wrong("usage: measure parse|format|bytes FILE ROUNDS".to_owned())),
    };
    match outcome {
        Ok(number) => println!("{number}"),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(1);
        }
    }
}

fn measure(what: &str, file: &str, rounds: &str) -> Result<f64> {
    let source = std::fs::read_to_string(file).map_err(|error| wrong(format!("{file}: {error}")))?;
    let rounds: u32 = rounds
        .parse()
        .map_err(|_| wrong(format!("rounds are a number, not '{rounds}'")))?;
    let started = Instant::now();
    match what {
        "parse" => {
            for _ in 0..rounds {
                black_box(complete(black_box(&source))?);
            }
        }
        "format" => {
            let domain = complete(&source)?;
            let started = Instant::now();
            for _ in 0..rounds {
                black_box(black_box(&domain).format(XmlFlags::SECURE));
            }
            return Ok(micros(started, rounds));
        }
        "bytes" => {
            // The first ones make the allocator's own room.
            let warm: Vec<Domain> = (0..rounds.div_ceil(4))
                .map(|_| complete(&source))
                .collect::<Result<_>>()?;
            let before = resident()?;
            let kept: Vec<Domain> = (0..rounds).map(|_| complete(&source)).collect::<Result<_>>()?;
            let grown = resident()?.saturating_sub(before);
            black_box((warm, &kept));
            return Ok(grown as f64 / f64::from(rounds.max(1)) / source.len().max(1) as f64);
        }
        _ => return Err(wrong(format!("'{what}' is not parse, format or bytes"))),
    }
    Ok(micros(started, rounds))
}

fn complete(source: &str) -> Result<Domain> {
    let mut domain = Domain::parse(source, XmlFlags::empty(), "domain")?;
    let context = NormalizeContext {
        flags: NormalizeFlags::INACTIVE | NormalizeFlags::ABI_UPDATE,
        random: &SystemRandomness,
    };
    normalize(&mut domain, &NoHooks, &context)?;
    validate(&domain, &NoHooks)?;
    Ok(domain)
}

fn micros(started: Instant, rounds: u32) -> f64 {
    started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds.max(1))
}

/// Bytes of memory this process has.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")
        .map_err(|error| wrong(format!("/proc/self/smaps_rollup: {error}")))?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| wrong("/proc/self/smaps_rollup says no Rss".to_owned()))
}

fn wrong(text: String) -> VirtError {
    VirtError::new(ErrorCode::INVALID_ARG, text)
}
