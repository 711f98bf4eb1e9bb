//! `kms-cli`, which calls `kmsd`.

fn main() -> std::process::ExitCode {
    kms_rpc::cli::main()
}
