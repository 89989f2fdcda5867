from neglected_pools where neglected order by days desc
