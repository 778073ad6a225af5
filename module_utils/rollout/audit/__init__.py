"""Every supabase-js call of a code base: found on the control node, proven against a schema on the target."""
