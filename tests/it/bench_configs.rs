//! The configs that the load bench starts Ringway with are valid in today's language.

use std::{fs, path::Path};

use ringway::config;

#[test]
fn every_config_of_the_load_bench_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/load/ringway");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // What bench/load/harness/proxies.py puts between the @.
        let values = [
            ("@RUN@", "/run/bench"),
            ("@DRIVER@", "io_uring"),
            ("@SHARDS@", "0"),
            ("@VERSION@", "1"),
            ("@PROXY@", "18080"),
            ("@LISTEN@", ""),
            ("@UPSTREAM@", ""),
            ("@METRICS@", "18081"),
            ("@BACKEND@", "19000"),
            ("@BACKEND1@", "19001"),
            ("@BACKEND2@", "19002"),
            ("@BACKEND3@", "19003"),
        ];
        let text = fs::read_to_string(&path).unwrap();
        let text = values.iter().fold(text, |text, (name, value)| text.replace(name, value));
        assert!(!text.contains('@'), "{name}: a word between @ that the harness doesn't fill");
        let read = config::parse(&name, &text);
        assert!(read.is_ok(), "{}", read.unwrap_err());
        seen += 1;
    }
    assert!(seen >= 3, "the configs weren't found");
}
