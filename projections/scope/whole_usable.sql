create or replace temp view scope_usable as from scope_joined
