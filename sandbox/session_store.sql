-- The tables that exist in production before any rollout: the session store of the WhatsApp service.
-- A rollout never writes to them, alters them or locks them beyond ACCESS SHARE. All rows are invented.

CREATE FUNCTION update_whatsapp_auth_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END
$$;

CREATE FUNCTION update_whatsapp_keys_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END
$$;

CREATE TABLE whatsapp_auth (
    company_id text NOT NULL,
    creds jsonb NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    PRIMARY KEY (company_id)
);
CREATE INDEX idx_whatsapp_auth_company ON whatsapp_auth (company_id);
CREATE TRIGGER trigger_whatsapp_auth_updated_at BEFORE UPDATE ON whatsapp_auth
    FOR EACH ROW EXECUTE FUNCTION update_whatsapp_auth_updated_at();

CREATE TABLE whatsapp_keys (
    company_id text NOT NULL,
    key_type text NOT NULL,
    key_id text NOT NULL,
    value jsonb NOT NULL,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (company_id, key_type, key_id)
);
CREATE INDEX idx_whatsapp_keys_company ON whatsapp_keys (company_id);
CREATE INDEX idx_whatsapp_keys_company_type_id ON whatsapp_keys (company_id, key_type, key_id)
    INCLUDE (value, created_at, updated_at, expires_at);
CREATE INDEX idx_whatsapp_keys_expires ON whatsapp_keys (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX idx_whatsapp_keys_expires_cleanup ON whatsapp_keys (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX idx_whatsapp_keys_type ON whatsapp_keys (key_type);
CREATE INDEX idx_whatsapp_keys_type_company ON whatsapp_keys (key_type, company_id);
CREATE TRIGGER trigger_whatsapp_keys_updated_at BEFORE UPDATE ON whatsapp_keys
    FOR EACH ROW EXECUTE FUNCTION update_whatsapp_keys_updated_at();

ALTER TABLE whatsapp_auth ENABLE ROW LEVEL SECURITY;
ALTER TABLE whatsapp_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY whatsapp_auth_allow_all ON whatsapp_auth USING (true) WITH CHECK (true);
CREATE POLICY whatsapp_keys_allow_all ON whatsapp_keys USING (true) WITH CHECK (true);

CREATE FUNCTION cleanup_expired_whatsapp_keys() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    deleted_rows integer;
BEGIN
    DELETE FROM whatsapp_keys WHERE expires_at < now();
    GET DIAGNOSTICS deleted_rows = ROW_COUNT;
    RETURN deleted_rows;
END
$$;

CREATE FUNCTION get_whatsapp_auth_stats()
RETURNS TABLE (auth_rows bigint, key_rows bigint, expired_keys bigint) LANGUAGE sql STABLE AS $$
    SELECT
        (SELECT count(*) FROM whatsapp_auth),
        (SELECT count(*) FROM whatsapp_keys),
        (SELECT count(*) FROM whatsapp_keys WHERE expires_at < now())
$$;

-- Binary values in the form in which the Baileys library serializes a Node.js Buffer; 32 invented bytes each.
CREATE FUNCTION pg_temp.buffer(seed text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('type', 'Buffer', 'data', encode(sha256(convert_to(seed, 'UTF8')), 'base64'))
$$;
CREATE FUNCTION pg_temp.key_pair(seed text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'private', pg_temp.buffer(seed || ' private'), 'public', pg_temp.buffer(seed || ' public')
    )
$$;

INSERT INTO whatsapp_auth (company_id, creds, created_at, updated_at) VALUES (
    '100001',
    jsonb_build_object(
        'me', jsonb_build_object('id', '12025550100:7@s.whatsapp.net', 'name', 'Invented Salon'),
        'noiseKey', pg_temp.key_pair('noise'),
        'pairingEphemeralKeyPair', pg_temp.key_pair('pairing'),
        'signedIdentityKey', pg_temp.key_pair('identity'),
        'signedPreKey', jsonb_build_object(
            'keyId', 1, 'keyPair', pg_temp.key_pair('signed pre-key'), 'signature', pg_temp.buffer('signature')
        ),
        'registrationId', 117,
        'advSecretKey', encode(sha256('adv secret'::bytea), 'base64'),
        'account', jsonb_build_object(
            'details', pg_temp.buffer('details'), 'accountSignatureKey', pg_temp.buffer('account key'),
            'accountSignature', pg_temp.buffer('account'), 'deviceSignature', pg_temp.buffer('device')
        ),
        'firstUnuploadedPreKeyId', 121, 'nextPreKeyId', 121, 'accountSyncCounter', 1,
        'processedHistoryMessages', '[]'::jsonb, 'accountSettings', '{"unarchiveChats": false}'::jsonb,
        'registered', true, 'platform', 'android', 'lastPropHash', 'invented', 'routingInfo', pg_temp.buffer('routing')
    ),
    now() - interval '40 days',
    now() - interval '3 minutes'
);

-- 200 keys: 120 pre-keys, 40 sessions, 20 sender keys, 10 device lists, 10 expired entries that cleanup may delete.
INSERT INTO whatsapp_keys (company_id, key_type, key_id, value, created_at, updated_at, expires_at)
SELECT
    '100001', key_type, key_id, value,
    now() - interval '40 days', now() - number * interval '7 minutes',
    CASE key_type WHEN 'device-list' THEN now() + interval '7 days' WHEN 'tctoken' THEN now() - interval '1 hour' END
FROM (
    SELECT 'pre-key' AS key_type, number::text AS key_id, pg_temp.key_pair('pre-key ' || number) AS value, number
    FROM generate_series(1, 120) AS number
    UNION ALL
    SELECT 'session', format('1202555%s.0', 100 + number), pg_temp.buffer('session ' || number), number
    FROM generate_series(1, 40) AS number
    UNION ALL
    SELECT 'sender-key', format('1203630000%s@g.us::1202555%s::0', 1000 + number, 100 + number),
        pg_temp.buffer('sender key ' || number), number
    FROM generate_series(1, 20) AS number
    UNION ALL
    SELECT 'device-list', format('1202555%s', 100 + number), '["0", "7"]'::jsonb, number
    FROM generate_series(1, 10) AS number
    UNION ALL
    SELECT 'tctoken', format('1202555%s@s.whatsapp.net', 200 + number), pg_temp.buffer('token ' || number), number
    FROM generate_series(1, 10) AS number
) AS invented;
