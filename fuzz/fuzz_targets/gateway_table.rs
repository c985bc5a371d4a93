//! Any bytes are a route table or are refused with words; any host and path is matched or not. The first two
//! lines are host and path, the rest is the table.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelport_dataplane::gateway::Checked;

fuzz_target!(|input: &[u8]| {
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let (host, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    match Checked::decode(lines.next().unwrap_or_default()) {
        Ok(table) => {
            let (host, path) = (String::from_utf8_lossy(host), String::from_utf8_lossy(path));
            let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
            table.fits(&host, path, query);
        }
        Err(words) => assert!(!words.is_empty()),
    }
});
