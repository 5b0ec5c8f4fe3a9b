state-pending = waiting
state-approved = approved
state-emergency = emergency
state-declined = declined
state-withdrawn = withdrawn
state-expired = expired
