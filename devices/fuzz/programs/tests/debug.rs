//! Debug.
#[test]
fn debug() {
    let p = std::env::var("P").unwrap();
    let t = std::env::var("T").unwrap();
    let b: Vec<u8> = p.split(',').map(|x| x.trim().parse().unwrap()).collect();
    programs::TARGETS.iter().find(|x| x.0 == t).unwrap().1(&b);
}
