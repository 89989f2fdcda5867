create or replace temp table scope_usable as from scope_joined
