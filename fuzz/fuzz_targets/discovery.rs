#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| workload_identity_binding::fuzzing::discovery(data));
