//! Reads domain documents and says which do not come out as they went in: `reformat FILE…`.
use virt_conf::domain::Domain;
use virt_util::xml::XmlFlags;

fn main() {
    let (mut same, mut different) = (0, 0);
    let mut reasons = std::collections::BTreeMap::<String, (u32, String)>::new();
    for path in std::env::args().skip(1) {
        let Ok(source) = std::fs::read_to_string(&path) else {
            continue;
        };
        let reason = match Domain::parse(&source, XmlFlags::empty(), "f") {
            Err(error) => {
                let message = error.message().to_owned();
                format!("error {}", message.splitn(5, ':').last().unwrap_or_default())
            }
            Ok(domain) => {
                let text = domain.format(XmlFlags::SECURE);
                if text == source {
                    same += 1;
                    continue;
                }
                let pair = source.lines().zip(text.lines()).find(|(a, b)| a != b);
                match pair {
                    Some((a, b)) => format!("- {}\n    + {}", a.trim(), b.trim()),
                    None => "length".to_owned(),
                }
            }
        };
        different += 1;
        let entry = reasons.entry(reason).or_insert((0, path.clone()));
        entry.0 += 1;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (reason, (count, path)) in reasons.iter().take(60) {
        println!("{count} {} {reason}", path.rsplit('/').next().unwrap_or_default());
    }
    println!("{same} same, {different} different");
}
