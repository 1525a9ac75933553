//! The numbers of [IANA's IKEv2 registries](https://www.iana.org/assignments/ikev2-parameters) as open
//! newtypes: every value can be held and compared, known ones have a constant and print their name.

use std::fmt;

macro_rules! registry {
    ($(#[$doc:meta])* $type:ident($repr:ty) { $($(#[$const_doc:meta])* $name:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(pub $repr);

        impl $type {
            $(
                $(#[$const_doc])*
                #[doc = concat!("`", $text, "`, ", stringify!($value), ".")]
                pub const $name: Self = Self($value);
            )*

            /// The registry's name of the value, if it has one here.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&self.0.to_string()),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => write!(f, "{name}({})", self.0),
                    None => write!(f, "{}({})", stringify!($type), self.0),
                }
            }
        }

        impl From<$repr> for $type {
            fn from(value: $repr) -> Self {
                Self(value)
            }
        }
    };
}

registry! {
    /// The type of a payload.
    PayloadType(u8) {
        NONE = 0, "none";
        SECURITY_ASSOCIATION = 33, "SA";
        KEY_EXCHANGE = 34, "KE";
        ID_INITIATOR = 35, "IDi";
        ID_RESPONDER = 36, "IDr";
        CERTIFICATE = 37, "CERT";
        CERTIFICATE_REQUEST = 38, "CERTREQ";
        AUTHENTICATION = 39, "AUTH";
        NONCE = 40, "Nonce";
        NOTIFY = 41, "N";
        DELETE = 42, "D";
        VENDOR_ID = 43, "V";
        TS_INITIATOR = 44, "TSi";
        TS_RESPONDER = 45, "TSr";
        ENCRYPTED = 46, "SK";
        CONFIGURATION = 47, "CP";
        EAP = 48, "EAP";
        SECURE_PASSWORD = 49, "GSPM";
        ID_GROUP = 50, "IDg";
        GROUP_SA = 51, "GSA";
        KEY_DOWNLOAD = 52, "KD";
        ENCRYPTED_FRAGMENT = 53, "SKF";
        PUZZLE_SOLUTION = 54, "PS";
    }
}

registry! {
    /// The type of an exchange.
    ExchangeType(u8) {
        IKE_SA_INIT = 34, "IKE_SA_INIT";
        IKE_AUTH = 35, "IKE_AUTH";
        CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
        INFORMATIONAL = 37, "INFORMATIONAL";
        IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
        GSA_AUTH = 39, "GSA_AUTH";
        GSA_REGISTRATION = 40, "GSA_REGISTRATION";
        GSA_REKEY = 41, "GSA_REKEY";
        GSA_INBAND_REKEY = 42, "GSA_INBAND_REKEY";
        IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
        IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
    }
}

registry! {
    /// A security protocol.
    ProtocolId(u8) {
        /// Where no protocol is meant.
        NONE = 0, "none";
        IKE = 1, "IKE";
        AH = 2, "AH";
        ESP = 3, "ESP";
        FC_ESP_HEADER = 4, "FC_ESP_HEADER";
        FC_CT_AUTHENTICATION = 5, "FC_CT_AUTHENTICATION";
        GIKE_UPDATE = 6, "GIKE_UPDATE";
    }
}

registry! {
    /// What a transform chooses.
    TransformType(u8) {
        ENCRYPTION = 1, "ENCR";
        PRF = 2, "PRF";
        INTEGRITY = 3, "INTEG";
        KEY_EXCHANGE = 4, "KE";
        SEQUENCE_NUMBERS = 5, "SN";
        ADDITIONAL_KEY_EXCHANGE_1 = 6, "ADDKE1";
        ADDITIONAL_KEY_EXCHANGE_2 = 7, "ADDKE2";
        ADDITIONAL_KEY_EXCHANGE_3 = 8, "ADDKE3";
        ADDITIONAL_KEY_EXCHANGE_4 = 9, "ADDKE4";
        ADDITIONAL_KEY_EXCHANGE_5 = 10, "ADDKE5";
        ADDITIONAL_KEY_EXCHANGE_6 = 11, "ADDKE6";
        ADDITIONAL_KEY_EXCHANGE_7 = 12, "ADDKE7";
        KEY_WRAP = 13, "KWA";
        GROUP_CONTROLLER_AUTHENTICATION = 14, "GCAUTH";
    }
}

registry! {
    /// Transform type 1: encryption.
    EncryptionId(u16) {
        DES_IV64 = 1, "ENCR_DES_IV64";
        DES = 2, "ENCR_DES";
        TRIPLE_DES = 3, "ENCR_3DES";
        RC5 = 4, "ENCR_RC5";
        IDEA = 5, "ENCR_IDEA";
        CAST = 6, "ENCR_CAST";
        BLOWFISH = 7, "ENCR_BLOWFISH";
        TRIPLE_IDEA = 8, "ENCR_3IDEA";
        DES_IV32 = 9, "ENCR_DES_IV32";
        NULL = 11, "ENCR_NULL";
        AES_CBC = 12, "ENCR_AES_CBC";
        AES_CTR = 13, "ENCR_AES_CTR";
        AES_CCM_8 = 14, "ENCR_AES_CCM_8";
        AES_CCM_12 = 15, "ENCR_AES_CCM_12";
        AES_CCM_16 = 16, "ENCR_AES_CCM_16";
        AES_GCM_8 = 18, "ENCR_AES_GCM_8";
        AES_GCM_12 = 19, "ENCR_AES_GCM_12";
        AES_GCM_16 = 20, "ENCR_AES_GCM_16";
        NULL_AUTH_AES_GMAC = 21, "ENCR_NULL_AUTH_AES_GMAC";
        XTS_AES = 22, "XTS_AES";
        CAMELLIA_CBC = 23, "ENCR_CAMELLIA_CBC";
        CAMELLIA_CTR = 24, "ENCR_CAMELLIA_CTR";
        CAMELLIA_CCM_8 = 25, "ENCR_CAMELLIA_CCM_8";
        CAMELLIA_CCM_12 = 26, "ENCR_CAMELLIA_CCM_12";
        CAMELLIA_CCM_16 = 27, "ENCR_CAMELLIA_CCM_16";
        CHACHA20_POLY1305 = 28, "ENCR_CHACHA20_POLY1305";
        AES_CCM_8_IIV = 29, "ENCR_AES_CCM_8_IIV";
        AES_GCM_16_IIV = 30, "ENCR_AES_GCM_16_IIV";
        CHACHA20_POLY1305_IIV = 31, "ENCR_CHACHA20_POLY1305_IIV";
        KUZNYECHIK_MGM_KTREE = 32, "ENCR_KUZNYECHIK_MGM_KTREE";
        MAGMA_MGM_KTREE = 33, "ENCR_MAGMA_MGM_KTREE";
        KUZNYECHIK_MGM_MAC_KTREE = 34, "ENCR_KUZNYECHIK_MGM_MAC_KTREE";
        MAGMA_MGM_MAC_KTREE = 35, "ENCR_MAGMA_MGM_MAC_KTREE";
    }
}

registry! {
    /// Transform type 2: pseudorandom function.
    PrfId(u16) {
        HMAC_MD5 = 1, "PRF_HMAC_MD5";
        HMAC_SHA1 = 2, "PRF_HMAC_SHA1";
        HMAC_TIGER = 3, "PRF_HMAC_TIGER";
        AES128_XCBC = 4, "PRF_AES128_XCBC";
        HMAC_SHA2_256 = 5, "PRF_HMAC_SHA2_256";
        HMAC_SHA2_384 = 6, "PRF_HMAC_SHA2_384";
        HMAC_SHA2_512 = 7, "PRF_HMAC_SHA2_512";
        AES128_CMAC = 8, "PRF_AES128_CMAC";
        HMAC_STREEBOG_512 = 9, "PRF_HMAC_STREEBOG_512";
    }
}

registry! {
    /// Transform type 3: integrity.
    IntegrityId(u16) {
        NONE = 0, "NONE";
        HMAC_MD5_96 = 1, "AUTH_HMAC_MD5_96";
        HMAC_SHA1_96 = 2, "AUTH_HMAC_SHA1_96";
        DES_MAC = 3, "AUTH_DES_MAC";
        KPDK_MD5 = 4, "AUTH_KPDK_MD5";
        AES_XCBC_96 = 5, "AUTH_AES_XCBC_96";
        HMAC_MD5_128 = 6, "AUTH_HMAC_MD5_128";
        HMAC_SHA1_160 = 7, "AUTH_HMAC_SHA1_160";
        AES_CMAC_96 = 8, "AUTH_AES_CMAC_96";
        AES_128_GMAC = 9, "AUTH_AES_128_GMAC";
        AES_192_GMAC = 10, "AUTH_AES_192_GMAC";
        AES_256_GMAC = 11, "AUTH_AES_256_GMAC";
        HMAC_SHA2_256_128 = 12, "AUTH_HMAC_SHA2_256_128";
        HMAC_SHA2_384_192 = 13, "AUTH_HMAC_SHA2_384_192";
        HMAC_SHA2_512_256 = 14, "AUTH_HMAC_SHA2_512_256";
    }
}

registry! {
    /// Transform type 4: key exchange method (Diffie-Hellman group or KEM).
    GroupId(u16) {
        NONE = 0, "NONE";
        MODP_768 = 1, "MODP_768";
        MODP_1024 = 2, "MODP_1024";
        MODP_1536 = 5, "MODP_1536";
        MODP_2048 = 14, "MODP_2048";
        MODP_3072 = 15, "MODP_3072";
        MODP_4096 = 16, "MODP_4096";
        MODP_6144 = 17, "MODP_6144";
        MODP_8192 = 18, "MODP_8192";
        ECP_256 = 19, "ECP_256";
        ECP_384 = 20, "ECP_384";
        ECP_521 = 21, "ECP_521";
        MODP_1024_160 = 22, "MODP_1024_160";
        MODP_2048_224 = 23, "MODP_2048_224";
        MODP_2048_256 = 24, "MODP_2048_256";
        ECP_192 = 25, "ECP_192";
        ECP_224 = 26, "ECP_224";
        BRAINPOOL_P224R1 = 27, "BRAINPOOL_P224R1";
        BRAINPOOL_P256R1 = 28, "BRAINPOOL_P256R1";
        BRAINPOOL_P384R1 = 29, "BRAINPOOL_P384R1";
        BRAINPOOL_P512R1 = 30, "BRAINPOOL_P512R1";
        CURVE25519 = 31, "CURVE25519";
        CURVE448 = 32, "CURVE448";
        GOST3410_2012_256 = 33, "GOST3410_2012_256";
        GOST3410_2012_512 = 34, "GOST3410_2012_512";
        ML_KEM_512 = 35, "ML_KEM_512";
        ML_KEM_768 = 36, "ML_KEM_768";
        ML_KEM_1024 = 37, "ML_KEM_1024";
    }
}

registry! {
    /// Transform type 5: sequence numbers
    /// ([RFC 9827](https://www.rfc-editor.org/rfc/rfc9827) renamed it from "extended sequence numbers").
    SequenceNumbersId(u16) {
        BITS_32 = 0, "32-bit sequential";
        /// Extended sequence numbers.
        BITS_64 = 1, "64-bit sequential (ESN)";
        UNSPECIFIED_32 = 2, "32-bit unspecified";
    }
}

registry! {
    /// The type of a transform attribute (15 bits).
    AttributeType(u16) {
        KEY_LENGTH = 14, "Key Length";
    }
}

registry! {
    /// The type of an identification.
    IdType(u8) {
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        RFC822_ADDR = 3, "ID_RFC822_ADDR";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
        FC_NAME = 12, "ID_FC_NAME";
        NULL = 13, "ID_NULL";
    }
}

registry! {
    /// How a certificate is encoded.
    CertEncoding(u8) {
        PKCS7 = 1, "PKCS #7 wrapped X.509 certificate";
        PGP = 2, "PGP certificate";
        DNS_SIGNED_KEY = 3, "DNS signed key";
        X509_SIGNATURE = 4, "X.509 certificate - signature";
        KERBEROS_TOKEN = 6, "Kerberos token";
        CRL = 7, "certificate revocation list";
        ARL = 8, "authority revocation list";
        SPKI = 9, "SPKI certificate";
        X509_ATTRIBUTE = 10, "X.509 certificate - attribute";
        RAW_RSA = 11, "raw RSA key (deprecated)";
        HASH_AND_URL_X509 = 12, "hash and URL of X.509 certificate";
        HASH_AND_URL_BUNDLE = 13, "hash and URL of X.509 bundle";
        OCSP = 14, "OCSP content";
        RAW_PUBLIC_KEY = 15, "raw public key";
    }
}

registry! {
    /// How an AUTH payload was computed.
    AuthMethod(u8) {
        RSA_SIGNATURE = 1, "RSA digital signature";
        SHARED_KEY = 2, "shared key";
        DSS_SIGNATURE = 3, "DSS digital signature";
        ECDSA_256 = 9, "ECDSA with SHA-256 on P-256";
        ECDSA_384 = 10, "ECDSA with SHA-384 on P-384";
        ECDSA_521 = 11, "ECDSA with SHA-512 on P-521";
        SECURE_PASSWORD = 12, "generic secure password";
        NULL = 13, "NULL authentication";
        /// [RFC 7427](https://www.rfc-editor.org/rfc/rfc7427).
        DIGITAL_SIGNATURE = 14, "digital signature";
    }
}

registry! {
    /// A hash in SIGNATURE_HASH_ALGORITHMS ([RFC 7427](https://www.rfc-editor.org/rfc/rfc7427#section-4)).
    HashAlgorithmId(u16) {
        SHA1 = 1, "SHA1";
        SHA2_256 = 2, "SHA2-256";
        SHA2_384 = 3, "SHA2-384";
        SHA2_512 = 4, "SHA2-512";
        /// The signature scheme hashes itself (Ed25519).
        IDENTITY = 5, "Identity";
        STREEBOG_256 = 6, "STREEBOG_256";
        STREEBOG_512 = 7, "STREEBOG_512";
    }
}

registry! {
    /// The type of a traffic selector.
    TsType(u8) {
        IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
        FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
        SECLABEL = 10, "TS_SECLABEL";
    }
}

registry! {
    /// What a configuration payload is.
    ConfigurationType(u8) {
        REQUEST = 1, "CFG_REQUEST";
        REPLY = 2, "CFG_REPLY";
        SET = 3, "CFG_SET";
        ACK = 4, "CFG_ACK";
    }
}

registry! {
    /// The type of a configuration attribute (15 bits).
    ConfigurationAttributeType(u16) {
        INTERNAL_IP4_ADDRESS = 1, "INTERNAL_IP4_ADDRESS";
        INTERNAL_IP4_NETMASK = 2, "INTERNAL_IP4_NETMASK";
        INTERNAL_IP4_DNS = 3, "INTERNAL_IP4_DNS";
        INTERNAL_IP4_NBNS = 4, "INTERNAL_IP4_NBNS";
        INTERNAL_IP4_DHCP = 6, "INTERNAL_IP4_DHCP";
        APPLICATION_VERSION = 7, "APPLICATION_VERSION";
        INTERNAL_IP6_ADDRESS = 8, "INTERNAL_IP6_ADDRESS";
        INTERNAL_IP6_DNS = 10, "INTERNAL_IP6_DNS";
        INTERNAL_IP6_DHCP = 12, "INTERNAL_IP6_DHCP";
        INTERNAL_IP4_SUBNET = 13, "INTERNAL_IP4_SUBNET";
        SUPPORTED_ATTRIBUTES = 14, "SUPPORTED_ATTRIBUTES";
        INTERNAL_IP6_SUBNET = 15, "INTERNAL_IP6_SUBNET";
        MIP6_HOME_PREFIX = 16, "MIP6_HOME_PREFIX";
        INTERNAL_IP6_LINK = 17, "INTERNAL_IP6_LINK";
        INTERNAL_IP6_PREFIX = 18, "INTERNAL_IP6_PREFIX";
        HOME_AGENT_ADDRESS = 19, "HOME_AGENT_ADDRESS";
        P_CSCF_IP4_ADDRESS = 20, "P_CSCF_IP4_ADDRESS";
        P_CSCF_IP6_ADDRESS = 21, "P_CSCF_IP6_ADDRESS";
        FTT_KAT = 22, "FTT_KAT";
        EXTERNAL_SOURCE_IP4_NAT_INFO = 23, "EXTERNAL_SOURCE_IP4_NAT_INFO";
        TIMEOUT_PERIOD_FOR_LIVENESS_CHECK = 24, "TIMEOUT_PERIOD_FOR_LIVENESS_CHECK";
        INTERNAL_DNS_DOMAIN = 25, "INTERNAL_DNS_DOMAIN";
        INTERNAL_DNSSEC_TA = 26, "INTERNAL_DNSSEC_TA";
        ENCDNS_IP4 = 27, "ENCDNS_IP4";
        ENCDNS_IP6 = 28, "ENCDNS_IP6";
        ENCDNS_DIGEST_INFO = 29, "ENCDNS_DIGEST_INFO";
    }
}

registry! {
    /// The type of a notification.
    NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
        INVALID_IKE_SPI = 4, "INVALID_IKE_SPI";
        INVALID_MAJOR_VERSION = 5, "INVALID_MAJOR_VERSION";
        INVALID_SYNTAX = 7, "INVALID_SYNTAX";
        INVALID_MESSAGE_ID = 9, "INVALID_MESSAGE_ID";
        INVALID_SPI = 11, "INVALID_SPI";
        NO_PROPOSAL_CHOSEN = 14, "NO_PROPOSAL_CHOSEN";
        INVALID_KE_PAYLOAD = 17, "INVALID_KE_PAYLOAD";
        AUTHENTICATION_FAILED = 24, "AUTHENTICATION_FAILED";
        SINGLE_PAIR_REQUIRED = 34, "SINGLE_PAIR_REQUIRED";
        NO_ADDITIONAL_SAS = 35, "NO_ADDITIONAL_SAS";
        INTERNAL_ADDRESS_FAILURE = 36, "INTERNAL_ADDRESS_FAILURE";
        FAILED_CP_REQUIRED = 37, "FAILED_CP_REQUIRED";
        TS_UNACCEPTABLE = 38, "TS_UNACCEPTABLE";
        INVALID_SELECTORS = 39, "INVALID_SELECTORS";
        UNACCEPTABLE_ADDRESSES = 40, "UNACCEPTABLE_ADDRESSES";
        UNEXPECTED_NAT_DETECTED = 41, "UNEXPECTED_NAT_DETECTED";
        USE_ASSIGNED_HOA = 42, "USE_ASSIGNED_HoA";
        TEMPORARY_FAILURE = 43, "TEMPORARY_FAILURE";
        CHILD_SA_NOT_FOUND = 44, "CHILD_SA_NOT_FOUND";
        INVALID_GROUP_ID = 45, "INVALID_GROUP_ID";
        AUTHORIZATION_FAILED = 46, "AUTHORIZATION_FAILED";
        STATE_NOT_FOUND = 47, "STATE_NOT_FOUND";
        TS_MAX_QUEUE = 48, "TS_MAX_QUEUE";
        REGISTRATION_FAILED = 49, "REGISTRATION_FAILED";
        INITIAL_CONTACT = 16384, "INITIAL_CONTACT";
        SET_WINDOW_SIZE = 16385, "SET_WINDOW_SIZE";
        ADDITIONAL_TS_POSSIBLE = 16386, "ADDITIONAL_TS_POSSIBLE";
        IPCOMP_SUPPORTED = 16387, "IPCOMP_SUPPORTED";
        NAT_DETECTION_SOURCE_IP = 16388, "NAT_DETECTION_SOURCE_IP";
        NAT_DETECTION_DESTINATION_IP = 16389, "NAT_DETECTION_DESTINATION_IP";
        COOKIE = 16390, "COOKIE";
        USE_TRANSPORT_MODE = 16391, "USE_TRANSPORT_MODE";
        HTTP_CERT_LOOKUP_SUPPORTED = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
        REKEY_SA = 16393, "REKEY_SA";
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
        NON_FIRST_FRAGMENTS_ALSO = 16395, "NON_FIRST_FRAGMENTS_ALSO";
        MOBIKE_SUPPORTED = 16396, "MOBIKE_SUPPORTED";
        ADDITIONAL_IP4_ADDRESS = 16397, "ADDITIONAL_IP4_ADDRESS";
        ADDITIONAL_IP6_ADDRESS = 16398, "ADDITIONAL_IP6_ADDRESS";
        NO_ADDITIONAL_ADDRESSES = 16399, "NO_ADDITIONAL_ADDRESSES";
        UPDATE_SA_ADDRESSES = 16400, "UPDATE_SA_ADDRESSES";
        COOKIE2 = 16401, "COOKIE2";
        NO_NATS_ALLOWED = 16402, "NO_NATS_ALLOWED";
        AUTH_LIFETIME = 16403, "AUTH_LIFETIME";
        MULTIPLE_AUTH_SUPPORTED = 16404, "MULTIPLE_AUTH_SUPPORTED";
        ANOTHER_AUTH_FOLLOWS = 16405, "ANOTHER_AUTH_FOLLOWS";
        REDIRECT_SUPPORTED = 16406, "REDIRECT_SUPPORTED";
        REDIRECT = 16407, "REDIRECT";
        REDIRECTED_FROM = 16408, "REDIRECTED_FROM";
        TICKET_LT_OPAQUE = 16409, "TICKET_LT_OPAQUE";
        TICKET_REQUEST = 16410, "TICKET_REQUEST";
        TICKET_ACK = 16411, "TICKET_ACK";
        TICKET_NACK = 16412, "TICKET_NACK";
        TICKET_OPAQUE = 16413, "TICKET_OPAQUE";
        LINK_ID = 16414, "LINK_ID";
        USE_WESP_MODE = 16415, "USE_WESP_MODE";
        ROHC_SUPPORTED = 16416, "ROHC_SUPPORTED";
        EAP_ONLY_AUTHENTICATION = 16417, "EAP_ONLY_AUTHENTICATION";
        CHILDLESS_IKEV2_SUPPORTED = 16418, "CHILDLESS_IKEV2_SUPPORTED";
        QUICK_CRASH_DETECTION = 16419, "QUICK_CRASH_DETECTION";
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
        IKEV2_MESSAGE_ID_SYNC = 16422, "IKEV2_MESSAGE_ID_SYNC";
        IPSEC_REPLAY_COUNTER_SYNC = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
        SECURE_PASSWORD_METHODS = 16424, "SECURE_PASSWORD_METHODS";
        PSK_PERSIST = 16425, "PSK_PERSIST";
        PSK_CONFIRM = 16426, "PSK_CONFIRM";
        ERX_SUPPORTED = 16427, "ERX_SUPPORTED";
        IFOM_CAPABILITY = 16428, "IFOM_CAPABILITY";
        GROUP_SENDER = 16429, "GROUP_SENDER";
        IKEV2_FRAGMENTATION_SUPPORTED = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
        SIGNATURE_HASH_ALGORITHMS = 16431, "SIGNATURE_HASH_ALGORITHMS";
        CLONE_IKE_SA_SUPPORTED = 16432, "CLONE_IKE_SA_SUPPORTED";
        CLONE_IKE_SA = 16433, "CLONE_IKE_SA";
        PUZZLE = 16434, "PUZZLE";
        USE_PPK = 16435, "USE_PPK";
        PPK_IDENTITY = 16436, "PPK_IDENTITY";
        NO_PPK_AUTH = 16437, "NO_PPK_AUTH";
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        IP4_ALLOWED = 16439, "IP4_ALLOWED";
        IP6_ALLOWED = 16440, "IP6_ALLOWED";
        ADDITIONAL_KEY_EXCHANGE = 16441, "ADDITIONAL_KEY_EXCHANGE";
        USE_AGGFRAG = 16442, "USE_AGGFRAG";
        SUPPORTED_AUTH_METHODS = 16443, "SUPPORTED_AUTH_METHODS";
        SA_RESOURCE_INFO = 16444, "SA_RESOURCE_INFO";
        USE_PPK_INT = 16445, "USE_PPK_INT";
        PPK_IDENTITY_KEY = 16446, "PPK_IDENTITY_KEY";
    }
}

impl NotifyType {
    /// Whether the number is in the range of errors
    /// ([RFC 7296 section 3.10.1](https://www.rfc-editor.org/rfc/rfc7296#section-3.10.1)).
    pub fn is_error(self) -> bool {
        self.0 < 16384
    }

    /// Whether the number is for private use.
    pub fn is_private(self) -> bool {
        matches!(self.0, 8192..=16383 | 40960..)
    }
}

impl TransformType {
    /// The name of `id` within this transform type, or its number.
    pub fn describe(self, id: u16) -> String {
        match self {
            Self::ENCRYPTION => EncryptionId(id).to_string(),
            Self::PRF => PrfId(id).to_string(),
            Self::INTEGRITY => IntegrityId(id).to_string(),
            Self::KEY_EXCHANGE => GroupId(id).to_string(),
            Self::SEQUENCE_NUMBERS => SequenceNumbersId(id).to_string(),
            Self(6..=12) => GroupId(id).to_string(),
            _ => id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_print_their_name_and_unknown_ones_their_number() {
        assert_eq!(NotifyType::NO_PROPOSAL_CHOSEN.to_string(), "NO_PROPOSAL_CHOSEN");
        assert_eq!(NotifyType(12345).to_string(), "12345");
        assert_eq!(GroupId::ML_KEM_768, GroupId(36));
        assert_eq!(format!("{:?}", ExchangeType(43)), "IKE_INTERMEDIATE(43)");
        assert_eq!(format!("{:?}", ExchangeType(200)), "ExchangeType(200)");
        assert_eq!(format!("{:>5}", PayloadType::ENCRYPTED), "   SK");
    }

    #[test]
    fn notify_ranges_follow_the_registry() {
        assert!(NotifyType(16383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
        assert!(NotifyType(8192).is_private() && NotifyType(40960).is_private());
        assert!(!NotifyType(8191).is_private() && !NotifyType(40959).is_private());
    }

    #[test]
    fn a_transform_is_described_within_its_type() {
        assert_eq!(TransformType::ENCRYPTION.describe(20), "ENCR_AES_GCM_16");
        assert_eq!(TransformType::ADDITIONAL_KEY_EXCHANGE_1.describe(37), "ML_KEM_1024");
        assert_eq!(TransformType(99).describe(4), "4");
    }
}
