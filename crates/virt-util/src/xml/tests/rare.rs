//! Parts that take no room where nothing is said.

use crate::xml::{DocOptions, Rare, Xml, XmlFlags, from_str, to_string};

#[derive(Xml, Clone, Debug, Default, PartialEq)]
struct Tuning {
    #[xml("tune@weight", default)]
    weight: u32,
    #[xml("tune/limit")]
    limits: Vec<String>,
}

crate::xml::nothing!(Tuning);

#[derive(Xml, Clone, Debug, Default, PartialEq)]
#[xml(name = "guest")]
struct Guest {
    #[xml("@kernel")]
    kernel: Rare<Option<String>>,
    #[xml(flatten)]
    tuning: Rare<Tuning>,
    #[xml("lease")]
    leases: Rare<Vec<String>>,
    #[xml("place")]
    place: Option<Place>,
}

#[derive(Xml, Clone, Debug, PartialEq)]
#[xml(union = "@type")]
enum Place {
    Host {
        #[xml(flatten)]
        tuning: Rare<Tuning>,
    },
    Nowhere,
}

fn read(text: &str) -> Guest {
    from_str(text, XmlFlags::empty(), &DocOptions::default()).expect("a guest")
}

#[test]
fn it_is_read_and_written_as_what_it_holds() {
    let source = "\
<guest kernel='/k'>
  <tune weight='3'>
    <limit>a</limit>
  </tune>
  <lease>b</lease>
  <lease>c</lease>
  <place type='host'>
    <tune weight='4'/>
  </place>
</guest>
";
    let guest = read(source);
    assert_eq!(guest.kernel.as_deref(), Some("/k"));
    assert_eq!(guest.tuning.weight, 3);
    assert_eq!(guest.leases.len(), 2);
    assert_eq!(to_string(&guest, XmlFlags::empty()), source);
    assert_eq!(guest.clone(), guest);
    assert_eq!(format!("{:?}", guest.leases), "[\"b\", \"c\"]");
}

#[test]
fn nothing_said_is_nothing_kept() {
    let guest = read("<guest><place type='nowhere'/></guest>");
    assert_eq!(guest.kernel, Rare::new());
    assert_eq!(guest.tuning.limits.len(), 0);
    assert_eq!(guest.place, Some(Place::Nowhere));
    assert_eq!(size_of::<Rare<Tuning>>(), size_of::<usize>());
}

#[test]
fn what_came_to_nothing_equals_what_was_never_said() {
    let mut guest = Guest::default();
    guest.leases.push("a".to_owned());
    guest.tuning.weight = 5;
    assert_ne!(guest, Guest::default());
    assert_eq!(guest.leases.take(), ["a"]);
    guest.tuning.weight = 0;
    *guest.kernel = None;
    for lease in &mut guest.leases {
        lease.clear();
    }
    guest.leases.shrink_to_fit();
    assert_eq!(guest, Guest::default());
}
