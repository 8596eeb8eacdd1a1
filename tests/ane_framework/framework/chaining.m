// Chains of requests, which nobody has made work on an engine.
#import <Foundation/Foundation.h>

@interface _ANEChainingRequest : NSObject
@end

@implementation _ANEChainingRequest

// An object that -[_ANEClient prepareChainingWithModel:...] refuses. (DE, LA, ES)
+ (id)chainingRequestWithInputs:(id)inputs
                     outputSets:(id)outputSets
                lbInputSymbolId:(id)inputSymbol
               lbOutputSymbolId:(id)outputSymbol
                 procedureIndex:(id)procedure
                   signalEvents:(id)events
              transactionHandle:(id)transaction
                 fwEnqueueDelay:(id)delay
                   memoryPoolId:(id)pool {
    (void)inputs, (void)outputSets, (void)inputSymbol, (void)outputSymbol, (void)procedure, (void)events;
    (void)transaction, (void)delay, (void)pool;
    return [[self new] autorelease];
}

- (BOOL)validate {
    return YES;
}

@end
