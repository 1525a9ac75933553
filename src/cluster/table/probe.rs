//! Finds out what a kernel lacks, after it has refused the table.

use super::{TableError, nft::Nft};

/// What the table needs: what it does, the module that has it, and rules that need nothing else.
const NEEDED: [(&str, &str, &str); 6] = [
    ("filter packets by nftables", "nf_tables", "add table inet skybridge-probe\n"),
    (
        "translate addresses by nftables",
        "nft_chain_nat",
        "add table inet skybridge-probe\nadd chain inet skybridge-probe a { type nat hook prerouting priority dstnat; }\n",
    ),
    (
        "follow connections in nftables",
        "nft_ct",
        "add table inet skybridge-probe\nadd chain inet skybridge-probe a\nadd rule inet skybridge-probe a ct state new\n",
    ),
    (
        "hash flows in nftables",
        "nft_hash",
        "add table inet skybridge-probe\nadd chain inet skybridge-probe a\n\
         add rule inet skybridge-probe a meta mark set jhash ip saddr mod 2 seed 1\n",
    ),
    (
        "reject packets before routing",
        "nft_reject_inet",
        "add table inet skybridge-probe\n\
         add chain inet skybridge-probe a { type filter hook prerouting priority dstnat; }\n\
         add rule inet skybridge-probe a reject with icmpx type port-unreachable\n",
    ),
    (
        "masquerade by nftables",
        "nft_masq",
        "add table inet skybridge-probe\nadd chain inet skybridge-probe a { type nat hook postrouting priority srcnat; }\n\
         add rule inet skybridge-probe a masquerade\n",
    ),
];

/// The reason behind a refusal, if it is one of these. The rules are only checked, never loaded.
pub(super) async fn explain(nft: &Nft, said: String) -> TableError {
    for (what, module, rules) in NEEDED {
        match nft.check(rules).await {
            Ok(()) => {}
            Err(TableError::Refused { said }) => return TableError::Unsupported { what, module, said },
            Err(error) => return error,
        }
    }
    TableError::Refused { said }
}
