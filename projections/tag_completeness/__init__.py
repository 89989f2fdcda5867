"""How complete the people are whom somebody looked at lately."""
