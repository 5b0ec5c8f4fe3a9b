incidents-title = Incidents
incidents-one = Incident { $id }
incidents-open = Open
incidents-none = Nothing is on fire. An incident that somebody opens here, or that your incident system reports, shows up here and policies can ask for it.
incidents-since = since
incidents-stale = nobody has confirmed it lately
incidents-new = Open an incident
incidents-what = What it is about
incidents-id = Id
incidents-severity = Severity
incidents-services = Services
incidents-responders = Who works on it
incidents-responders-now = Working on it
incidents-open-send = Open it
incidents-on-call = On call
incidents-no-schedules = No schedule is known. Put one into the configuration, or say here who is on call.
incidents-schedule = Schedule
incidents-people = People
incidents-known-until = Known until
incidents-until-said = something else is said
incidents-said-by = Said by
incidents-unknown = not known
incidents-nobody = nobody
incidents-say-on-call = Say who is on call
incidents-say-what = It replaces what was said before, until somebody says otherwise. Leave it empty for nobody.
incidents-say-send = Say so
incidents-closed = Closed
incidents-updated = Last word
incidents-is-open = open
incidents-is-closed = closed
incidents-grants = Access that is open for it
incidents-no-grants = No grant that you may see is in force for it.
incidents-record = What happened, on record
incidents-close = Close
incidents-close-what =
    { $n ->
        [0] This closes the incident and ends every grant that is open for it, with its live connections. You may see none.
        [one] This closes the incident and ends every grant that is open for it, with its live connections. You see one.
       *[other] This closes the incident and ends every grant that is open for it, with their live connections. You see { $n }.
    }
incidents-close-send = Close the incident
incidents-reopen = Open again
incidents-reopen-what = What its end closed stays closed; people ask again.
