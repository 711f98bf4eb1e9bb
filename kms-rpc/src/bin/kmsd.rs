//! `kmsd`, the JSON-RPC server.

fn main() -> std::process::ExitCode {
    kms_rpc::start::main()
}
