select seq, hash from pii.events where seq > $after and seq <= $until order by seq limit $most
